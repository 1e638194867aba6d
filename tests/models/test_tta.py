"""Semantic test-time augmentation: which images, which sum, which result."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import SemSegMetric
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from PIL import Image

from projects.oneformer.models import OneFormerTTA
from tests.model_configs import METAINFO, build_model, tiny_model
from tests.pipeline_steps import step_of
from tests.rounding import lead

ROOT = Path(__file__).parents[2]
BRICKS = ROOT / 'configs/_base_/tta'
# Test pipeline (long, short), largest long side, short sides.
SCALES = {
    'ade20k_512': ((2048, 512), 3584, [256, 384, 512, 640, 768, 896]),
    'ade20k_640': ((2560, 640), 4480, [320, 480, 640, 800, 960, 1120]),
    'ade20k_896': ((3584, 896), 6272, [448, 678, 896, 1120, 1344, 1568]),
    'ade20k_1280': ((5120, 1280), 8960, [640, 960, 1280, 1600, 1920, 2240]),
    'cityscapes': ((2048, 1024), 4096, [512, 768, 1024, 1280, 1536, 1792]),
    'mapillary': ((2048, 2048), 4096, [512, 768, 1024, 1280, 1536, 1792]),
}
# Scores add up to about 1 per augmentation, and round by 1e-6.
MARGIN = 1e-3


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def model():
    model = build_model(tiny_model(training=False))

    def spread(module, inputs, output):
        return 10 * (output - output.mean(1, keepdim=True))

    # Random queries are much alike; what they differ in gives several
    # classes to the result.
    model.panoptic_head.cls_embed.register_forward_hook(spread)
    model.panoptic_head.mask_embed.register_forward_hook(spread)
    return model


@pytest.fixture
def picture() -> np.ndarray:
    """Coarse structure, and a left side unlike the right, BGR."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    coarse[:, :3] //= 4
    return np.asarray(Image.fromarray(coarse).resize((76, 58)))


def pipeline(scales: list[tuple[int, int]], flips: list[float]) -> Compose:
    """Return a test pipeline that starts from an array, without truth."""

    def resize(scale):
        return dict(
            type='Resize', scale=scale, keep_ratio=True, backend='pillow'
        )

    keys = ('ori_shape', 'img_shape', 'flip', 'flip_direction')
    return Compose(
        [
            dict(type='mmdet.LoadImageFromNDArray'),
            resize((160, 64)),
            dict(
                type='TestTimeAug',
                transforms=[
                    [resize(scale) for scale in scales],
                    [dict(type='RandomFlip', prob=prob) for prob in flips],
                    [dict(type='PackDetInputs', meta_keys=keys)],
                ],
            ),
        ]
    )


def batch(scales: list, flips: list, *images: np.ndarray) -> dict:
    """Return what the loader hands over."""
    prepare = pipeline(scales, flips)
    return pseudo_collate(
        [prepare(dict(img=image, img_id=0)) for image in images]
    )


def augmented_sample(flip_direction: str | None = None) -> DetDataSample:
    keys = dict(flip=flip_direction is not None, flip_direction=flip_direction)
    return DetDataSample(metainfo=keys)


@torch.no_grad()
def scores_by_hand(
    model, picture: np.ndarray, short: int, flip: bool
) -> torch.Tensor:
    """Resize twice, flip, ask the model, flip back: (K, H, W)."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    for side in (64, short):
        scale = side / min(image.size)
        size = [int(length * scale + 0.5) for length in image.size]
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)[:, ::-1] if flip else np.asarray(image)
    inputs = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=pixels.shape[:2],
            ori_shape=(height, width),
            task='semantic',
            semantic_scores=True,
        )
    )
    data = model.data_preprocessor(
        dict(inputs=[inputs], data_samples=[sample])
    )
    (found,) = model.predict(data['inputs'], data['data_samples'])
    scores = found.pred_sem_seg.scores
    return scores.flip(2) if flip else scores


def with_scores(samples: list, scores: torch.Tensor) -> list:
    """Return samples as a model with these semantic scores does."""
    for sample, own in zip(samples, scores, strict=True):
        assert sample.task == 'semantic' and sample.semantic_scores
        sample.pred_sem_seg = PixelData(scores=own)
    return samples


def test_the_sum_over_augmentations_decides(model, monkeypatch):
    # Two images, two classes, one row of three pixels. What comes second
    # was seen flipped.
    maps = iter(
        [
            [[[[5.0, 0, 2]], [[4, 1, 1]]], [[[0, 1, 1]], [[1, 0, 0]]]],
            [[[[0.0, 0, 1]], [[2.5, 0, 0]]], [[[0, 1, 1]], [[0.5, 0, 0]]]],
        ]
    )
    monkeypatch.setattr(
        model,
        'predict',
        lambda inputs, samples: with_scores(samples, torch.tensor(next(maps))),
    )
    image = torch.zeros(3, 4, 12, dtype=torch.uint8)
    result, other = OneFormerTTA(model).test_step(
        dict(
            inputs=2 * [2 * [image]],
            data_samples=[
                [augmented_sample(direction) for _ in range(2)]
                for direction in (None, 'horizontal')
            ],
        )
    )
    # Turned back, the second is 1 0 0 and 0 0 2.5: the sums are 6 0 2 and
    # 4 1 3.5.
    assert result.pred_sem_seg.sem_seg.tolist() == [[[0, 1, 1]]]
    # Sums 1 2 1 and 1 0 0.5; of equal ones the first class.
    assert other.pred_sem_seg.sem_seg.tolist() == [[[0, 0, 0]]]
    assert 'scores' not in result.pred_sem_seg


@torch.no_grad()
def test_merged_maps_are_those_of_the_augmentations_added_up(model, picture):
    data = batch([(200, 48), (200, 64)], [0.0, 1.0], picture)
    tta = OneFormerTTA(model)
    scored = [
        tta.score(dict(inputs=inputs, data_samples=samples))
        for inputs, samples in zip(
            data['inputs'], data['data_samples'], strict=True
        )
    ]
    (merged,) = tta.merge_preds(list(zip(*scored, strict=True)))
    average = merged.pred_sem_seg.scores / 4
    expected = sum(
        scores_by_hand(model, picture, short, flip) / 4
        for short in (48, 64)
        for flip in (False, True)
    )
    assert average.shape == (6, *picture.shape[:2])
    torch.testing.assert_close(average, expected)


@torch.no_grad()
def test_the_result_is_the_largest_average(model, picture):
    data = batch([(200, 48), (200, 64)], [0.0, 1.0], picture)
    (sample,) = OneFormerTTA(model).test_step(data)
    scores = sum(
        scores_by_hand(model, picture, short, flip)
        for short in (48, 64)
        for flip in (False, True)
    )
    clear = lead(scores) > MARGIN
    labels = sample.pred_sem_seg.sem_seg
    assert labels.shape == (1, *picture.shape[:2])
    assert clear.float().mean() > 0.9
    assert labels[0][clear].equal(scores.argmax(0)[clear])
    alone = scores_by_hand(model, picture, 64, flip=False)
    clear &= lead(alone) > MARGIN
    assert (labels[0] != alone.argmax(0))[clear].any()


@torch.no_grad()
def test_one_scale_without_flip_is_the_plain_prediction(model, picture):
    images = picture, picture[:, ::-1].copy()
    data = batch([(200, 64)], [0.0], *images)
    augmented = OneFormerTTA(model).test_step(data)
    plain = model.test_step({key: data[key][0] for key in data})
    for one, other, pixels in zip(augmented, plain, images, strict=True):
        clear = lead(scores_by_hand(model, pixels, 64, flip=False)) > MARGIN
        assert clear.float().mean() > 0.9
        labels = one.pred_sem_seg.sem_seg[0]
        assert labels[clear].equal(other.pred_sem_seg.sem_seg[0][clear])
        # The labels of the one are not those of the other.
        assert len(labels[clear].unique()) > 1
        assert (labels != labels.flip(1))[clear].float().mean() > 0.1
        assert one.pred_sem_seg.ignore_index == 255


@pytest.mark.parametrize(
    'direction, axes',
    [('horizontal', [2]), ('vertical', [1]), ('diagonal', [1, 2])],
)
def test_a_flipped_image_is_turned_back(model, monkeypatch, direction, axes):
    # A model that reads the classes off the colours of the image.
    monkeypatch.setattr(
        model, 'predict', lambda inputs, samples: with_scores(samples, inputs)
    )
    image = torch.randint(0, 256, (3, 32, 64)).byte()
    samples = [augmented_sample(), augmented_sample(direction)]
    labels = [
        OneFormerTTA(model)
        .test_step(dict(inputs=[[pixels]], data_samples=[[sample]]))[0]
        .pred_sem_seg.sem_seg
        for pixels, sample in zip(
            (image, image.flip(axes)), samples, strict=True
        )
    ]
    assert labels[0].equal(labels[1])
    assert not labels[0].equal(labels[0].flip(axes))


@torch.no_grad()
def test_the_result_enters_the_metric(model, picture):
    data = batch([(200, 48)], [0.0, 1.0], picture)
    (sample,) = OneFormerTTA(model).test_step(data)
    labels = sample.pred_sem_seg.sem_seg
    metric = SemSegMetric(iou_metrics=['mIoU'], prefix='semantic')
    metric.dataset_meta = METAINFO
    truth = dict(sem_seg=labels.clone())
    metric.process({}, [dict(sample.to_dict(), gt_sem_seg=truth)])
    assert metric.evaluate(1)['semantic/mIoU'] == 100


def test_it_is_built_by_its_name_around_the_config_of_a_model():
    tta = MODELS.build(
        dict(type='OneFormerTTA', module=tiny_model(training=False))
    )
    assert tta.module.tasks == ('panoptic', 'instance', 'semantic')


def test_another_model_is_refused():
    with pytest.raises(TypeError, match='got Stranger'):
        OneFormerTTA(Stranger())


class Stranger(torch.nn.Module):
    def test_step(self, data):
        raise NotImplementedError


def test_a_model_that_is_not_asked_semantic_is_refused():
    config = tiny_model(training=False, tasks=['panoptic', 'instance'])
    with pytest.raises(ValueError, match='panoptic and instance results have'):
        OneFormerTTA(config)


def test_a_sample_that_asks_another_task_is_refused(model):
    sample = augmented_sample()
    sample.set_metainfo(dict(task='panoptic'))
    data = dict(inputs=[[torch.zeros(3, 4, 4)]], data_samples=[[sample]])
    with pytest.raises(ValueError, match="task 'panoptic'.*semantic only"):
        OneFormerTTA(model).test_step(data)


@pytest.mark.parametrize('key', ['flip', 'flip_direction'])
def test_a_sample_must_say_how_it_is_flipped(model, key):
    keys = dict(flip=True, flip_direction='horizontal')
    del keys[key]
    sample = DetDataSample(metainfo=keys)
    data = dict(inputs=[[torch.zeros(3, 4, 4)]], data_samples=[[sample]])
    with pytest.raises(ValueError, match=f"add '{key}' to meta_keys"):
        OneFormerTTA(model).test_step(data)


def test_images_without_augmentation_are_refused(model):
    data = dict(
        inputs=[torch.zeros(3, 4, 4)], data_samples=[augmented_sample()]
    )
    with pytest.raises(ValueError, match='use tta_pipeline'):
        OneFormerTTA(model).test_step(data)


# The bricks of the configs.


@pytest.fixture(params=SCALES)
def brick(request) -> tuple[str, Config]:
    path = BRICKS / f'semantic_{request.param}.py'
    return request.param, Config.fromfile(path)


def test_every_brick_is_listed_here():
    names = {path.stem for path in BRICKS.glob('*.py')}
    assert names == {f'semantic_{name}' for name in SCALES}


def test_a_brick_has_the_scales_of_its_data_set_flipped_and_not(brick):
    name, config = brick
    test_scale, longest, short_sides = SCALES[name]
    assert {'tta_model', 'tta_pipeline'} <= set(config)
    first = step_of(config.tta_pipeline, 'Resize')
    assert first.scale == test_scale
    (resizes, flips, *_) = step_of(
        config.tta_pipeline, 'TestTimeAug'
    ).transforms
    assert [resize.scale for resize in resizes] == [
        (longest, side) for side in short_sides
    ]
    for resize in [first, *resizes]:
        assert (resize.type, resize.backend) == ('Resize', 'pillow')
        assert resize.keep_ratio
    assert [flip.prob for flip in flips] == [0.0, 1.0]


def test_a_brick_combines_with_the_other_bricks(brick, tmp_path):
    name, _ = brick
    bases = ROOT / 'configs/_base_'
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(
        f'_base_ = ["{bases}/models/oneformer_r50.py",'
        f'"{bases}/datasets/coco_panoptic.py",'
        f'"{bases}/schedules/adamw_coco_50ep.py",'
        f'"{bases}/tta/semantic_{name}.py",'
        f'"{bases}/default_runtime.py"]'
    )
    config = Config.fromfile(leaf)
    steps = [step.type for step in config.test_pipeline]
    own = config.tta_pipeline
    augmented = step_of(own, 'TestTimeAug').transforms
    inner = [transforms[0].type for transforms in augmented]
    if name.startswith('ade20k'):
        # Its own truth, here without the data set's.
        inner.remove('LoadSemanticTruth')
    outer = [step.type for step in own]
    outer.remove('TestTimeAug')
    assert outer + inner[2:] == steps
    for step in own:
        TRANSFORMS.build(step)


def test_the_scales_start_from_the_image_of_the_test_pipeline():
    config = Config.fromfile(BRICKS / 'semantic_ade20k_512.py')
    steps = config.tta_pipeline
    # An image without annotation, from an array.
    load = step_of(steps, 'LoadImageFromFile')
    load.clear()
    load.type = 'mmdet.LoadImageFromNDArray'
    augment = step_of(steps, 'TestTimeAug')
    augment.transforms = [
        branches
        for branches in augment.transforms
        if branches[0].type in ('Resize', 'RandomFlip', 'PackDetInputs')
    ]
    (pack,) = augment.transforms[-1]
    pack.meta_keys = ('img_shape', 'ori_shape', 'flip')
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = Compose(steps)(dict(img=image, img_id=0))
    assert [sample.flip for sample in data['data_samples']] == 6 * [
        False,
        True,
    ]
    # 80 / 60 * 512 = 682.7 -> 683, and 683 / 512 * 256 = 341.5 -> 342, where
    # the original would give 80 / 60 * 256 = 341.3 -> 341.
    first, flipped = data['inputs'][:2]
    assert first.shape == (3, 256, 342)
    assert data['data_samples'][0].img_shape == (256, 342)
    assert data['data_samples'][0].ori_shape == (60, 80)
    twice = Image.fromarray(image)
    for size in ((683, 512), (342, 256)):
        twice = twice.resize(size, Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(twice).copy()).permute(2, 0, 1)
    assert first.equal(pixels)
    assert flipped.equal(pixels.flip(2))


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs').glob('*.py')), ids=lambda path: path.stem
)
def test_a_config_prepares_its_images_alike_with_and_without(path):
    config = Config.fromfile(path)
    if 'tta_pipeline' not in config:
        assert 'tta_model' not in config
        return
    test_steps = config.test_dataloader.dataset.pipeline
    *loading, augment = config.tta_pipeline
    assert loading == test_steps[: len(loading)]
    inner = augment.transforms
    assert [step[0] for step in inner[2:4]] == test_steps[2:4]
    assert not path.stem.split('_')[2].startswith('coco')
