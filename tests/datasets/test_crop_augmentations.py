"""The augmentations of ADE20K, Cityscapes and Mapillary: stock transforms.

They come from the config of ADE20K with 512 x 512 pixels, and do what the
reference does, on coded ids with three channels, too.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def steps() -> dict:
    """The configs of the augmentations, by type."""
    init_default_scope('mmdet')
    config = Config.fromfile(
        ROOT / 'configs/_base_/datasets/ade20k_panoptic.py'
    )
    return {step.type: step for step in config.train_pipeline[2:7]}


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
    transform = TRANSFORMS.build(steps['RandomChoiceResize'])
    monkeypatch.setattr(np.random, 'randint', lambda count: choice)
    results = transform(sample(*size))
    assert results['img'].shape == (*resized, 3)
    assert results['gt_seg_map'].shape == (*resized, 3)
    assert results['img_shape'] == resized


def test_all_short_sides_are_equally_likely(steps):
    transform = TRANSFORMS.build(steps['RandomChoiceResize'])
    transform.resize.transform = lambda results: results
    counts = Counter(
        transform({})['scale_idx'] for _ in range(3200)
    )  # 200 each, with a deviation of 14
    assert sorted(counts) == list(range(16))
    assert min(counts.values()) > 140


def test_pictures_are_resized_as_by_pillow_and_ids_never_mixed(
    steps, monkeypatch
):
    transform = TRANSFORMS.build(steps['RandomChoiceResize'])
    monkeypatch.setattr(np.random, 'randint', lambda count: 0)
    before = sample(700, 601)
    before['gt_seg_map'][::2] = (1, 2, 3)
    results = transform(dict(before))
    # 256 / 601 * 700 = 298.2
    for key, method in (
        ('img', Image.Resampling.BILINEAR),
        ('gt_seg_map', Image.Resampling.NEAREST),
    ):
        expected = Image.fromarray(before[key]).resize((256, 298), method)
        assert (results[key] == np.asarray(expected)).all()


def test_a_crop_is_never_larger_than_the_picture(steps):
    step = dict(steps['RandomCrop'], crop_size=(30, 20))  # width, height
    transform = TRANSFORMS.build(step)
    for size, cropped in (
        ((50, 60), (20, 30)),
        ((10, 60), (10, 30)),
        ((50, 25), (20, 25)),
        ((10, 25), (10, 25)),
    ):
        results = transform(sample(*size))
        assert results['img'].shape == (*cropped, 3)
        assert results['gt_seg_map'].shape == (*cropped, 3)
        assert results['img_shape'] == cropped


def test_every_place_of_a_crop_is_equally_likely(steps):
    transform = TRANSFORMS.build(dict(steps['RandomCrop'], crop_size=(6, 7)))
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


def test_half_of_the_pictures_are_mirrored(steps):
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
    results = TRANSFORMS.build(steps['Pad'])(dict(before))
    for key, value in (('img', 128), ('gt_seg_map', 0)):
        assert results[key].shape == (512, 512, 3)
        assert (results[key][:300] == before[key]).all()
        assert (results[key][300:] == value).all()
    assert results['img_shape'] == (512, 512)
