"""From images to results; and weights that do not fit."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from PIL import Image as PillowImage
from pycocotools import mask as coco_mask

from projects.oneformer.images import ImageError
from projects.oneformer.inferencer import (
    OneFormerInferencer,
    describe,
    inference_model,
)
from projects.oneformer.tasks import RESULT_FIELDS, TASKS
from projects.oneformer.weights.reader import load_weights
from tests.model_configs import METAINFO, tiny_model

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
    model = MODELS.build(tiny_model(training=True))
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def config():
    return Config(
        dict(
            model=tiny_model(training=True, object_mask_thr=0.0),
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
        task: [labels_of(sample, task) for sample in inferencer(images, task)]
        for task in tasks
    }
    start = Barrier(len(tasks))

    def segment(task):
        start.wait()
        for _ in range(8):
            results = inferencer(images, task)
            for sample, labels in zip(results, expected[task], strict=True):
                fields = {f for f in RESULT_FIELDS.values() if f in sample}
                assert fields == {RESULT_FIELDS[task]}
                assert labels_of(sample, task).equal(labels)

    with ThreadPoolExecutor(len(tasks)) as pool:
        for outcome in [pool.submit(segment, task) for task in tasks]:
            outcome.result()


def test_two_calls_may_take_turns(inferencer, image):
    calls = [inferencer([image] * 2, tasks=task) for task in TASKS]
    for _ in range(2):
        for task, call in zip(TASKS, calls, strict=True):
            sample = next(call)
            fields = {f for f in RESULT_FIELDS.values() if f in sample}
            assert fields == {RESULT_FIELDS[task]}


def labels_of(sample, task):
    return sample.get(RESULT_FIELDS[task]).sem_seg


def test_results_have_the_size_of_the_image(inferencer, image):
    (sample,) = inferencer(image)
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 40, 52)
    assert sample.pred_sem_seg.sem_seg.shape == (1, 40, 52)
    assert sample.pred_instances.masks.shape[1:] == (40, 52)


def test_only_the_requested_tasks_have_results(inferencer, image):
    (sample,) = inferencer(image, tasks='semantic')
    assert 'pred_sem_seg' in sample
    assert 'pred_panoptic_seg' not in sample
    assert 'pred_instances' not in sample


def test_a_file_and_its_pixels_give_the_same(inferencer, image, tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), image)
    (of_file,) = inferencer(path, tasks='semantic')
    (of_array,) = inferencer(image, tasks='semantic')
    assert torch.equal(
        of_file.pred_sem_seg.sem_seg, of_array.pred_sem_seg.sem_seg
    )


def test_images_of_mixed_sizes_come_back_in_order(inferencer, image):
    images = [image, image[:32], image[:, :20]]
    shapes = [
        tuple(sample.pred_sem_seg.sem_seg.shape[1:])
        for sample in inferencer(images, tasks='semantic', batch_size=2)
    ]
    assert shapes == [(40, 52), (32, 52), (40, 20)]


def test_pillow_and_arrays_of_other_channels_give_the_same(inferencer, image):
    """Arrays are BGR, images of Pillow are RGB."""
    grey = image[..., 0]
    for given, same in (
        (PillowImage.fromarray(image[..., ::-1]), image),
        (np.dstack([image, grey]), image),
        (grey, np.dstack([grey] * 3)),
        (grey[..., None], np.dstack([grey] * 3)),
        (PillowImage.fromarray(grey), np.dstack([grey] * 3)),
    ):
        assert np.array_equal(inferencer.read(given), same)
        (found,) = inferencer(given, 'semantic')
        (expected,) = inferencer(same, 'semantic')
        assert labels_of(found, 'semantic').equal(
            labels_of(expected, 'semantic')
        )


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
    'images', [None, 3, b'a.jpg', [None], ['a.jpg', 3], torch.zeros(3, 4, 4)]
)
def test_another_kind_is_refused_at_the_call(inferencer, images):
    with pytest.raises(TypeError, match='Expected an array .*, got '):
        inferencer(images)


def test_another_kind_from_a_generator_is_refused_at_its_turn(
    inferencer, image
):
    results = inferencer(iter([image, 3]), 'semantic')
    next(results)
    with pytest.raises(TypeError, match='got int'):
        next(results)


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
    (sample,) = OneFormerInferencer(own, weights, device='cpu')(image)
    assert {f for f in RESULT_FIELDS.values() if f in sample} == {
        'pred_sem_seg'
    }


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
            assert found.img_path == str(path)


def test_the_images_before_a_bad_one_have_results(inferencer, one_bad_of_four):
    results = inferencer(one_bad_of_four(2), 'semantic', batch_size=4)
    assert [Path(next(results).img_path).stem for _ in 'ab'] == ['a', 'b']
    with pytest.raises(ImageError, match=r'c\.png cannot be read'):
        next(results)


def test_an_image_too_thin_to_be_resized_is_named(inferencer, image, tmp_path):
    path = tmp_path / 'thin.png'
    cv2.imwrite(str(path), np.zeros((1, 3000, 3), np.uint8))
    thin, found = inferencer([path, image], 'semantic', return_errors=True)
    assert f'Image {path} of 3000 x 1 pixels does not pass' in str(thin)
    assert 'pad it' in str(thin)
    assert 'pred_sem_seg' in found


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


def sample_of_a_cat_and_the_sky():
    """Two rows of sky, a cat of two pixels below, and void."""
    cat = torch.zeros(3, 4, dtype=torch.bool)
    cat[2, 1:3] = True
    panoptic = torch.full((3, 4), 6)
    panoptic[:2] = 2
    panoptic[cat] = 1 + 1000
    sample = DetDataSample(
        pred_panoptic_seg=PixelData(sem_seg=panoptic[None]),
        pred_instances=InstanceData(
            masks=torch.stack([cat, ~cat]),
            labels=torch.tensor([1, 3]),
            scores=torch.tensor([0.9, 0.2]),
        ),
    )
    return sample, cat


def test_a_panoptic_result_is_described_segment_by_segment():
    sample, cat = sample_of_a_cat_and_the_sky()
    sky, animal = describe(sample, 'panoptic', METAINFO)
    assert (sky['class'], sky['is_thing'], sky['area']) == ('sky', False, 8)
    assert sky['bbox'] == [0, 0, 4, 2]
    assert (animal['class'], animal['is_thing']) == ('cat', True)
    decoded = coco_mask.decode(animal['segmentation'])
    assert np.array_equal(decoded, cat.numpy())


def test_instances_below_the_threshold_are_not_described():
    sample, _ = sample_of_a_cat_and_the_sky()
    (animal,) = describe(sample, 'instance', METAINFO, score_thr=0.3)
    assert (animal['class'], animal['score']) == ('cat', 0.9)
    assert len(describe(sample, 'instance', METAINFO, score_thr=0.1)) == 2
