"""The augmentations of ADE20K, Cityscapes and Mapillary.

They come from the config of ADE20K with 512 x 512 pixels, and do what the
reference does, on ids in one channel and in three: what mmdet's transforms
do, to the pixel.
"""

import copy
from collections import Counter
from pathlib import Path

import mmcv
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from projects.oneformer.datasets import RandomChoiceResizeCrop
from tests.pipeline_steps import step_of
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[3]
LARGE = (4096, 4096)  # no image here is cropped


@pytest.fixture(scope='module')
def config() -> Config:
    init_default_scope('mmdet')
    return Config.fromfile(ROOT / 'configs/_base_/datasets/ade20k_panoptic.py')


@pytest.fixture
def steps(config) -> dict:
    """The configs of the augmentations, by type."""
    return {step.type: step for step in config.train_pipeline}


def coordinates(height: int, width: int) -> np.ndarray:
    """A map whose pixels tell their row (channel 0) and column (1)."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows + 7], -1).astype(np.uint8)


def sample(height: int, width: int) -> dict:
    rng = np.random.default_rng(0)
    img = rng.integers(0, 256, (height, width, 3), np.uint8)
    return dict(
        img=img,
        img_shape=(height, width),
        gt_seg_map=coordinates(height, width),
        seg_fields=['gt_seg_map'],
    )


@pytest.mark.parametrize(
    ('size', 'choice', 'resized'),
    [
        # Short sides 256, 307, ..., 1024. 640 * 307 / 480 = 409.3.
        ((480, 640), 1, (307, 409)),
        ((640, 480), 1, (409, 307)),
        ((480, 640), 15, (1024, 1365)),  # 1365.3
        ((500, 333), 0, (384, 256)),  # 384.4
        ((334, 500), 0, (256, 383)),  # 383.2
        ((4, 5), 4, (460, 575)),
        ((8, 9), 8, (665, 748)),  # 748.1
        ((64, 65), 0, (256, 260)),
        ((128, 193), 0, (256, 386)),
        ((256, 257), 6, (563, 565)),  # 565.2
        ((512, 513), 0, (256, 257)),  # 256.5 is rounded up
        # The long side may have 2048: 100 * 2048 / 1000 = 204.8.
        ((100, 1000), 5, (205, 2048)),
        ((1000, 100), 15, (2048, 205)),
        ((100, 500), 4, (410, 2048)),  # 460 * 5 > 2048; 409.6
    ],
)
def test_the_short_side_is_chosen_and_the_long_side_limited(
    steps, monkeypatch, size, choice, resized
):
    step = dict(steps['RandomChoiceResizeCrop'], crop_size=LARGE)
    draws = iter([choice, 0, 0])
    monkeypatch.setattr(np.random, 'randint', lambda count: next(draws))
    results = TRANSFORMS.build(step)(sample(*size))
    assert results['img'].shape == (*resized, 3)
    assert results['gt_seg_map'].shape == (*resized, 3)
    assert results['img_shape'] == resized


def test_all_short_sides_are_equally_likely(steps):
    transform = TRANSFORMS.build(
        dict(steps['RandomChoiceResizeCrop'], crop_size=(4, 4))
    )
    image = np.zeros((4, 4, 3), np.uint8)
    counts = Counter(
        transform(dict(img=image))['scale_idx'] for _ in range(3200)
    )  # 200 each, with a deviation of 14
    assert sorted(counts) == list(range(16))
    assert min(counts.values()) > 140


def test_images_are_resized_as_by_pillow_and_ids_never_mixed(steps):
    before = sample(700, 601)
    before['gt_seg_map'][::2] = (1, 2, 3)
    step = steps['RandomChoiceResizeCrop']
    step = dict(step, scales=step.scales[:1], crop_size=LARGE)
    results = TRANSFORMS.build(step)(dict(before))
    # 256 / 601 * 700 = 298.2
    for key, method in (
        ('img', Image.Resampling.BILINEAR),
        ('gt_seg_map', Image.Resampling.NEAREST),
    ):
        expected = Image.fromarray(before[key]).resize((256, 298), method)
        assert (results[key] == np.asarray(expected)).all()


def test_a_crop_is_never_larger_than_the_image(steps):
    step = dict(steps['RandomChoiceResizeCrop'])
    step['crop_size'] = (30, 20)  # width, height
    for size, cropped in (
        ((50, 60), (20, 30)),
        ((10, 60), (10, 30)),
        ((50, 25), (20, 25)),
        ((10, 25), (10, 25)),
    ):
        step['scales'] = [size]  # as it is
        results = TRANSFORMS.build(step)(sample(*size))
        assert results['img'].shape == (*cropped, 3)
        assert results['gt_seg_map'].shape == (*cropped, 3)
        assert results['img_shape'] == cropped


def test_every_place_of_a_crop_is_equally_likely(steps):
    step = dict(steps['RandomChoiceResizeCrop'], scales=[(9, 8)])
    transform = TRANSFORMS.build(dict(step, crop_size=(6, 7)))
    before = sample(9, 8)
    counts = Counter()
    for _ in range(1800):
        results = transform(dict(before))
        row, column, _ = results['gt_seg_map'][0, 0].tolist()
        part = slice(row, row + 7), slice(column, column + 6)
        assert (results['gt_seg_map'] == before['gt_seg_map'][part]).all()
        assert (results['img'] == before['img'][part]).all()
        counts[row, column] += 1
    # 200 each, with a deviation of 13.
    assert sorted(counts) == [(r, c) for r in range(3) for c in range(3)]
    assert min(counts.values()) > 140


def test_half_of_the_images_are_mirrored(steps):
    transform = TRANSFORMS.build(steps['RandomFlip'])
    before = sample(3, 4)
    mirrored = 0
    for _ in range(1000):
        results = transform(dict(before))
        step = -1 if results['flip'] else 1
        assert (results['img'] == before['img'][:, ::step]).all()
        assert (results['gt_seg_map'] == before['gt_seg_map'][:, ::step]).all()
        mirrored += results['flip']
    assert 400 < mirrored < 600  # the deviation is 16


def test_the_rest_is_grey_before_normalisation_and_void(steps):
    before = sample(300, 512)
    results = TRANSFORMS.build(steps['PadToSize'])(dict(before))
    for key, value in (('img', 128), ('gt_seg_map', 0)):
        assert results[key].shape == (512, 512, 3)
        assert (results[key][:300] == before[key]).all()
        assert (results[key][300:] == value).all()
    assert results['img_shape'] == (512, 512)


def stock(step: dict) -> list[dict]:
    """The transforms of mmdet that one of ours stands for."""
    if step['type'] == 'PadToSize':
        return [
            dict(type='Pad', size=step['size'], pad_val=dict(img=128, seg=0))
        ]
    if step['type'] == 'RandomChoiceResizeCrop':
        resize = dict(type='RandomChoiceResize', scales=step['scales'])
        resize.update(keep_ratio=True, backend='pillow')
        return [resize, dict(type='RandomCrop', crop_size=step['crop_size'])]
    return [step]


def equal(left, right) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return left == right


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(
    'size',
    [
        # Smaller than the crop, in one or both directions; narrow; larger.
        *((20, 30), (64, 20), (17, 90), (130, 11)),
        *((64, 64), (97, 61), (128, 171), (171, 128)),
    ],
)
def test_a_resized_crop_is_that_of_mmdet(config, size, channels):
    step = dict(
        type='RandomChoiceResizeCrop',
        scales=[(256, short) for short in (20, 33, 48, 64, 77, 91, 128)],
        crop_size=(64, 48),
    )
    ours = TRANSFORMS.build(step)
    theirs = Compose([TRANSFORMS.build(part) for part in stock(step)])
    for seed in range(12):
        before = sample(*size)
        if channels == 1:
            before['gt_seg_map'] = before['gt_seg_map'][..., 0]
        # As loaded, with the channels turned, and as flipped.
        before['img'] = before['img'][:, :: (-1) ** seed, ::-1]
        if seed % 3 == 0:
            before['homography_matrix'] = np.array(
                [[-1, 0, size[1]], [0, 1, 0], [0, 0, 1]], np.float32
            )
        np.random.seed(seed)
        expected = theirs(copy.deepcopy(before))
        following = np.random.rand()
        np.random.seed(seed)
        found = ours(copy.deepcopy(before))
        assert np.random.rand() == following, 'as much is drawn'
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert equal(value, expected[key]), (key, seed)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [(20, 30), (48, 30), (20, 64), (48, 64)])
def test_padding_is_that_of_mmcv(config, size, channels):
    step = dict(type='PadToSize', size=(64, 48))
    before = sample(*size)
    if channels == 1:
        before['gt_seg_map'] = before['gt_seg_map'][..., 0]
    before = mmcv.transforms.RandomFlip(prob=1.0)(before)
    (theirs,) = stock(step)
    expected = TRANSFORMS.build(theirs)(copy.deepcopy(before))
    found = TRANSFORMS.build(step)(copy.deepcopy(before))
    for key, value in found.items():
        assert equal(value, expected[key]), key
    # Packing needs no copy.
    assert found['img'].transpose(2, 0, 1).flags.c_contiguous


def test_samples_are_those_of_a_pipeline_of_mmdet(config, tmp_path):
    make_demo_data(tmp_path / 'demo', num_train=4, num_val=1, size=96)
    options = config.train_dataloader.dataset
    options.update(
        data_root=str(tmp_path / 'demo'),
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train', seg='annotations/panoptic_train'),
        void='ignore',
    )
    options.pop('metainfo')
    for step in options.pipeline:
        if step.type == 'RandomChoiceResizeCrop':
            step.update(
                scales=[(400, short) for short in (50, 75, 120, 200)],
                crop_size=(80, 64),
            )
        if step.type == 'PadToSize':
            step.size = (80, 64)
    ours = DATASETS.build(options)
    # Ids as the files have them, in three channels.
    load = step_of(options.pipeline, 'LoadSegments')
    load.type = 'LoadPanopticSegments'
    options.pipeline = [
        part for step in options.pipeline for part in stock(step)
    ]
    theirs = DATASETS.build(options)
    for seed in range(24):
        np.random.seed(seed)
        found = ours[seed % 4]
        np.random.seed(seed)
        expected = theirs[seed % 4]
        assert found['inputs'].equal(expected['inputs'])
        found, expected = found['data_samples'], expected['data_samples']
        assert found.metainfo == expected.metainfo
        assert found.gt_sem_seg.sem_seg.equal(expected.gt_sem_seg.sem_seg)
        found, expected = found.gt_instances, expected.gt_instances
        assert found.labels.equal(expected.labels)
        assert np.array_equal(found.masks.masks, expected.masks.masks)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(scales=[]), 'at least one scale, got none'),
        (dict(scales=[640]), 'above 0 as each of scales, got 640'),
        (dict(scales=[(640, 0)]), r'as each of scales, got \(640, 0\)'),
        (dict(crop_size=512), 'as crop_size, got 512'),
        (dict(crop_size=(0.5, 0.5)), 'two whole numbers above 0 as crop_size'),
    ],
)
def test_scales_and_crops_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandomChoiceResizeCrop(
            **(dict(scales=[(9, 8)], crop_size=(6, 7)) | options)
        )


def test_padding_to_less_than_the_image_is_refused(config):
    with pytest.raises(ValueError, match='size of PadToSize, got 512'):
        TRANSFORMS.build(dict(type='PadToSize', size=512))
    step = TRANSFORMS.build(dict(type='PadToSize', size=(30, 20)))
    with pytest.raises(ValueError, match=r'at most \(20, 30\). Crop before'):
        step(sample(21, 30))
