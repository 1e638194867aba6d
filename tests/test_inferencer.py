"""From images to results; and weights that do not fit."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image as PillowImage

from projects.oneformer.errors import InputError, MissingFileError
from projects.oneformer.images import ImageError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.sample_result import segment_scores
from projects.oneformer.tasks import RESULT_FIELDS, TASKS
from projects.oneformer.weights.inference_model import inference_model
from projects.oneformer.weights.reader import load_weights
from tests.model_configs import (
    be_sure_of_several_classes,
    tiny_model,
)

PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(96, 64), keep_ratio=True, backend='pillow'),
    dict(type='LoadPanopticSegments'),
    dict(type='EvalTargets'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_path', 'ori_shape', 'img_shape', 'segments_info'),
    ),
]


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'training.pth'
    init_default_scope('mmdet')
    torch.manual_seed(1)
    model = MODELS.build(tiny_model(training=True))
    be_sure_of_several_classes(model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def config():
    return Config(
        dict(
            model=tiny_model(training=True, object_mask_thr=0.0, iou_thr=0.0),
            test_dataloader=dict(dataset=dict(pipeline=PIPELINE)),
        )
    )


@pytest.fixture(scope='module')
def inferencer(weights):
    return OneFormerInferencer(config(), weights, device='cpu')


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(
        0, 256, (40, 52, 3), dtype=np.uint8
    )


def test_the_inference_model_has_no_text_branch(inferencer):
    assert inferencer.model.panoptic_head.text_mapper is None
    assert not inferencer.model.training


def test_steps_of_annotations_are_left_out_whatever_their_scope(
    weights, image
):
    own = config()
    own.test_dataloader.dataset.pipeline[1:1] = [
        dict(type='mmdet.LoadAnnotations', with_mask=True),
        dict(type='projects.oneformer.EvalTargets'),
    ]
    (result,) = OneFormerInferencer(own, weights, device='cpu')(image)
    assert result.size == image.shape[:2]


@pytest.mark.parametrize('steps', [[], [dict(type='Resize', scale=(9, 9))]])
def test_a_pipeline_that_loads_no_image_is_refused(weights, steps):
    own = config()
    own.test_dataloader.dataset.pipeline = steps
    with pytest.raises(InputError, match='begins with LoadImageFromFile, got'):
        OneFormerInferencer(own, weights, device='cpu')


def test_the_config_of_the_user_does_not_change():
    model = tiny_model(training=True)
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint='swin.pth')
    found = inference_model(model)
    assert found.train_cfg is None and found.backbone.init_cfg is None
    assert model.train_cfg is not None
    assert model.backbone.init_cfg.checkpoint == 'swin.pth'
    assert found.panoptic_head == model.panoptic_head


def test_two_threads_get_the_results_of_their_own_tasks(inferencer, image):
    """They share one inferencer, and are at work at the same time."""
    images = [image, image[:32], image[:, ::-1].copy()]
    tasks = ('semantic', 'panoptic')
    expected = {
        task: [map_of(result, task) for result in inferencer(images, task)]
        for task in tasks
    }
    start = Barrier(len(tasks))

    def segment(task):
        start.wait()
        for _ in range(8):
            results = inferencer(images, task)
            for result, labels in zip(results, expected[task], strict=True):
                assert result.tasks == (task,)
                assert np.array_equal(map_of(result, task), labels)

    with ThreadPoolExecutor(len(tasks)) as pool:
        for outcome in [pool.submit(segment, task) for task in tasks]:
            outcome.result()


def test_two_calls_may_take_turns(inferencer, image):
    calls = [inferencer([image] * 2, tasks=task) for task in TASKS]
    for _ in range(2):
        for task, call in zip(TASKS, calls, strict=True):
            assert next(call).tasks == (task,)


def map_of(result, task):
    return result.panoptic if task == 'panoptic' else result.semantic


def test_samples_have_the_size_of_the_image(inferencer, image):
    (sample,) = inferencer.samples(image)
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 40, 52)
    assert sample.pred_sem_seg.sem_seg.shape == (1, 40, 52)
    assert sample.pred_instances.masks.shape[1:] == (40, 52)


def test_only_the_requested_tasks_have_results(inferencer, image):
    (result,) = inferencer(image, tasks='semantic')
    assert result.tasks == ('semantic',)
    assert result.panoptic is result.segments is result.instances is None
    (sample,) = inferencer.samples(image, tasks='semantic')
    fields = {f for f in RESULT_FIELDS.values() if f in sample}
    assert fields == {'pred_sem_seg'}


def test_a_result_holds_what_its_sample_does(inferencer, image):
    (sample,), (result,) = inferencer.samples(image), inferencer(image)
    assert (result.height, result.width) == (40, 52)
    assert np.array_equal(result.image, image[..., ::-1])
    assert np.array_equal(result.semantic, sample.pred_sem_seg.sem_seg[0])
    codes = sample.pred_panoptic_seg.sem_seg[0].numpy()
    assert result.segments
    for segment in result.segments:
        (code,) = np.unique(codes[segment.mask])
        assert np.array_equal(codes == code, segment.mask)
        assert code % 1000 == segment.label
    assert (codes[result.panoptic == 0] == len(result.classes)).all()
    found = sample.pred_instances
    everything = result.filter(0.0).instances
    order = found.scores.argsort(descending=True, stable=True)
    assert [i.score for i in everything] == found.scores[order].tolist()
    assert [i.label for i in everything] == found.labels[order].tolist()
    for instance, mask in zip(everything, found.masks[order], strict=True):
        assert np.array_equal(instance.mask, mask)


def test_panoptic_segments_have_the_class_score_of_their_query(
    inferencer, image
):
    (result,) = inferencer(image, 'panoptic')
    (sample,) = inferencer.samples(image, 'panoptic')
    scores = segment_scores(sample.pred_panoptic_seg)
    codes = sample.pred_panoptic_seg.sem_seg[0].numpy()
    assert result.segments
    for segment in result.segments:
        assert segment.score == scores[codes[segment.mask][0]] > 0


def test_instances_below_the_threshold_come_back_without_a_new_pass(
    inferencer, image
):
    (full,) = inferencer(image, 'instance', score_thr=0)
    scores = [segment.score for segment in full.instances]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]
    middle = scores[len(scores) // 2]
    (result,) = inferencer(image, 'instance', score_thr=middle)
    shown = [segment.score for segment in result.instances]
    assert shown == [score for score in scores if score >= middle]
    assert [s.score for s in result.filter(0).instances] == scores


def test_a_file_and_its_pixels_give_the_same(inferencer, image, tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), image)
    (of_file,) = inferencer(path, tasks='semantic')
    (of_array,) = inferencer(image, tasks='semantic')
    assert np.array_equal(of_file.semantic, of_array.semantic)
    assert of_file.image_name == str(path) and of_array.image_name is None


def test_images_of_mixed_sizes_come_back_in_order(inferencer, image):
    images = [image, image[:32], image[:, :20]]
    shapes = [
        result.semantic.shape
        for result in inferencer(images, tasks='semantic', batch_size=2)
    ]
    assert shapes == [(40, 52), (32, 52), (40, 20)]


def test_images_of_all_kinds_give_the_same(inferencer, image):
    """Arrays are BGR, images of Pillow and tensors are RGB."""
    grey = image[..., 0]
    for given, same in (
        (PillowImage.fromarray(image[..., ::-1]), image),
        (np.dstack([image, grey]), image),
        (grey, np.dstack([grey] * 3)),
        (grey[..., None], np.dstack([grey] * 3)),
        (PillowImage.fromarray(grey), np.dstack([grey] * 3)),
        (torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1), image),
        (torch.tensor(grey)[None], np.dstack([grey] * 3)),
    ):
        assert np.array_equal(inferencer.read(given), same)
        (found,) = inferencer(given, 'semantic')
        (expected,) = inferencer(same, 'semantic')
        assert np.array_equal(found.semantic, expected.semantic)


def test_arrays_are_rgb_where_the_inferencer_is_made_so(
    inferencer, weights, image
):
    rgb = OneFormerInferencer(config(), weights, 'cpu', channel_order='rgb')
    assert np.array_equal(rgb.read(image[..., ::-1]), image)
    (found,) = rgb(image[..., ::-1], 'semantic')
    (expected,) = inferencer(image, 'semantic')
    assert np.array_equal(found.semantic, expected.semantic)
    assert np.array_equal(found.image, expected.image)
    with pytest.raises(ValueError, match="Unknown channel_order 'gbr'"):
        OneFormerInferencer(config(), weights, 'cpu', channel_order='gbr')


def test_category_ids_come_from_a_category_file(weights, image, tmp_path):
    path = tmp_path / 'panoptic.json'
    names = ('sky', 'cat', 'dog', 'car', 'road', 'wall')
    categories = [dict(id=10 + n, name=own) for n, own in enumerate(names)]
    path.write_text(json.dumps(dict(categories=categories)))
    own = OneFormerInferencer(config(), weights, 'cpu', category_file=path)
    (result,) = own(image, 'semantic')
    # Of wall, cat, sky, dog, car and road.
    assert result.category_ids == (15, 11, 10, 12, 13, 14)
    path.write_text(json.dumps(dict(categories=categories[1:])))
    with pytest.raises(ValueError, match=r"no categories \['sky'\]"):
        OneFormerInferencer(config(), weights, 'cpu', category_file=path)
    with pytest.raises(MissingFileError, match='none.json'):
        OneFormerInferencer(
            config(), weights, 'cpu', category_file=tmp_path / 'none.json'
        )


def test_a_folder_gives_its_images_by_name(inferencer, image, tmp_path):
    for name in ('b.png', 'a.jpg', 'notes.txt'):
        cv2.imwrite(str(tmp_path / 'image.png'), image)
        (tmp_path / 'image.png').rename(tmp_path / name)
    names = [r.image_name for r in inferencer(tmp_path, 'semantic')]
    assert names == [str(tmp_path / name) for name in ('a.jpg', 'b.png')]


def test_a_folder_without_images_is_named(inferencer, tmp_path):
    with pytest.raises(ImageError, match=f'{tmp_path} has no image'):
        next(inferencer(tmp_path))


@pytest.fixture
def video(image, tmp_path):
    """Three frames, each darker than the one before."""
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (52, 40)
    )
    for number in range(3):
        writer.write(np.full_like(image, 200 - 80 * number))
    writer.release()
    return path


def test_a_video_gives_a_result_for_each_frame(inferencer, video, image):
    results = list(inferencer([video, image], 'semantic', batch_size=2))
    names = [result.image_name for result in results]
    stem = str(video.with_suffix(''))
    assert names == [f'{stem}_00000{n}.png' for n in range(3)] + [None]
    for number, result in enumerate(results[:3]):
        # JPEG keeps a grey image within a few levels.
        assert abs(result.image.mean() - (200 - 80 * number)) < 4


def test_a_video_that_cannot_be_read_is_named(inferencer, tmp_path, image):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(b'no video')
    found = list(
        inferencer(
            [path, tmp_path / 'gone.mp4', image],
            'semantic',
            return_errors=True,
        )
    )
    assert f'Video {path} has no frame' in str(found[0])
    assert 'gone.mp4 does not exist' in str(found[1])
    assert found[2].tasks == ('semantic',)


@pytest.fixture
def server(tmp_path):
    """The address of a server of ``tmp_path``."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as own:
        thread = Thread(target=own.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{own.server_port}'
        own.shutdown()
        thread.join()


def test_an_address_is_read(inferencer, image, server, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (found,) = inferencer(f'{server}/a.png', 'semantic')
    assert np.array_equal(found.image, image[..., ::-1])
    assert found.image_name == f'{server}/a.png'
    with pytest.raises(ImageError, match=r'b\.png'):
        next(inferencer(f'{server}/b.png', 'semantic'))


@pytest.mark.parametrize(
    'change',
    [
        lambda image: image / 255,
        lambda image: image.astype(np.uint16),
        lambda image: image[:0],
        lambda image: image[..., :2],
        lambda image: image[None],
    ],
    ids=['floats', 'uint16', 'empty', 'two channels', 'batch'],
)
def test_an_array_that_is_no_image_is_refused(inferencer, image, change):
    with pytest.raises(ValueError, match='Expected an array uint8 of shape'):
        next(inferencer(change(image)))


@pytest.mark.parametrize(
    'images', [None, 3, b'a.jpg', [None], ['a.jpg', 3], [['a.jpg']]]
)
def test_another_kind_is_refused_at_the_call(inferencer, images):
    with pytest.raises(TypeError, match='Expected an array or .*, got '):
        inferencer(images)


def test_another_kind_from_a_generator_is_refused_at_its_turn(
    inferencer, image
):
    results = inferencer(iter([image, 3]), 'semantic')
    next(results)
    with pytest.raises(TypeError, match='got int'):
        next(results)


@pytest.mark.parametrize(
    'tensor',
    [
        torch.zeros(3, 4, 4),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
    ],
    ids=['floats', 'channels last', 'batch'],
)
def test_a_tensor_that_is_no_image_is_refused(inferencer, tensor):
    with pytest.raises(ValueError, match=r'torch.uint8 of shape \(3, H, W\)'):
        next(inferencer(tensor))


@pytest.mark.parametrize('score_thr', [-0.1, 1.5, float('nan')])
def test_a_threshold_that_is_no_score_is_refused_at_the_call(
    inferencer, image, score_thr
):
    with pytest.raises(ValueError, match='score_thr of 0 to 1'):
        inferencer(image, score_thr=score_thr)


def test_an_unknown_task_is_refused_at_the_call(inferencer, image):
    with pytest.raises(ValueError, match="Unknown task 'depth'"):
        inferencer(image, tasks='depth')


def test_no_task_is_refused_at_the_call(inferencer, image):
    with pytest.raises(ValueError, match='at least one task'):
        inferencer(image, tasks=[])


def test_a_batch_of_nothing_is_refused_at_the_call(inferencer, image):
    with pytest.raises(ValueError, match='batch size of 1 or more, got 0'):
        inferencer(image, batch_size=0)


def test_without_tasks_those_of_the_config_are_solved(weights, image):
    own = config()
    own.model.test_cfg.tasks = ['semantic']
    (result,) = OneFormerInferencer(own, weights, device='cpu')(image)
    assert result.tasks == ('semantic',)


@pytest.fixture
def one_bad_of_four(image, tmp_path):
    """Paths of three images and one that is damaged, at each place."""
    paths = [tmp_path / f'{name}.png' for name in 'abcd']
    for path in paths:
        cv2.imwrite(str(path), image)

    def spoil(place):
        path = paths[place]
        path.write_bytes(path.read_bytes()[:200])
        return paths

    return spoil


@pytest.mark.parametrize('batch_size', [1, 3])
@pytest.mark.parametrize('place', [0, 2, 3])
def test_an_error_takes_the_place_of_a_bad_image(
    inferencer, one_bad_of_four, place, batch_size
):
    paths = one_bad_of_four(place)
    results = inferencer(paths, 'semantic', batch_size, return_errors=True)
    for number, (path, found) in enumerate(zip(paths, results, strict=True)):
        if number == place:
            assert isinstance(found, ImageError)
            assert str(path) in str(found)
        else:
            assert found.image_name == str(path)


def test_the_images_before_a_bad_one_have_results(inferencer, one_bad_of_four):
    results = inferencer(one_bad_of_four(2), 'semantic', batch_size=4)
    assert [next(results).stem for _ in 'ab'] == ['a', 'b']
    with pytest.raises(ImageError, match=r'c\.png cannot be read'):
        next(results)


def test_an_image_too_thin_to_be_resized_is_named(inferencer, image, tmp_path):
    path = tmp_path / 'thin.png'
    cv2.imwrite(str(path), np.zeros((1, 3000, 3), np.uint8))
    thin, found = inferencer([path, image], 'semantic', return_errors=True)
    assert f'Image {path} of 3000 x 1 pixels does not pass' in str(thin)
    assert 'pad it' in str(thin)
    assert found.tasks == ('semantic',)


def test_a_bad_image_costs_no_other_in_tiles(weights, one_bad_of_four):
    tiled = OneFormerInferencer(config(), weights, device='cpu', tile=40)
    results = tiled(one_bad_of_four(0), 'semantic', return_errors=True)
    kinds = [isinstance(found, ImageError) for found in results]
    assert kinds == [True, False, False, False]


def test_a_missing_image_is_named(inferencer):
    with pytest.raises(FileNotFoundError, match=r'nothing\.jpg'):
        next(inferencer('nothing.jpg'))


def test_a_file_that_is_no_image_is_named(inferencer, tmp_path):
    path = tmp_path / 'text.jpg'
    path.write_text('no image')
    with pytest.raises(ValueError, match=r'text\.jpg cannot be read'):
        next(inferencer(path))


def test_weights_of_another_model_are_refused_and_nothing_is_loaded(weights):
    model = MODELS.build(tiny_model(training=False))
    with torch.no_grad():
        model.panoptic_head.cls_embed.weight.zero_()
    state = torch.load(weights, weights_only=True)['state_dict']
    state['panoptic_head.cls_embed.bias'] = torch.zeros(3)
    del state['panoptic_head.level_embed.weight']
    state['neck.weight'] = torch.zeros(1)
    other = weights.with_name('other.pth')
    torch.save(state, other)
    with pytest.raises(ValueError) as error:
        load_weights(model, str(other))
    for part in (
        'does not fit this config',
        '1 missing, as panoptic_head.level_embed.weight',
        '1 left over, as neck.weight',
        'cls_embed.bias (3,) for (7,)',
    ):
        assert part in str(error.value)
    assert not model.panoptic_head.cls_embed.weight.any()


def test_missing_weights_are_named(weights):
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        load_weights(torch.nn.Linear(1, 1), str(weights / 'none.pth'))
