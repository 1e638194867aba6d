"""Large-scale jitter: sizes, places, and the pixels of Pillow."""

import mmcv
import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets import LargeScaleJitter


def image_of(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def coordinates(height: int, width: int) -> np.ndarray:
    """A map whose pixels tell their row (channel 0) and column (1)."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows + 7], -1).astype(np.uint8)


def jitter(
    size: tuple[int, int],
    ratio: float,
    fraction: float,
    monkeypatch,
    img: np.ndarray,
    gt_seg_map: np.ndarray | None = None,
    **options,
) -> dict:
    """Jitter with a given ratio and fraction in place of random ones."""
    draws = iter([ratio, fraction])
    monkeypatch.setattr(np.random, 'uniform', lambda *bounds: next(draws))
    results = dict(img=img, img_shape=img.shape[:2])
    if gt_seg_map is not None:
        results['gt_seg_map'] = gt_seg_map
    results = LargeScaleJitter(size, **options).transform(results)
    assert not list(draws), 'two numbers are drawn'
    return results


@pytest.mark.parametrize(
    ('size', 'ratio', 'scaled'),
    [
        # The side that fills its target first decides.
        ((480, 640), 1.0, (768, 1024)),
        ((640, 480), 1.0, (1024, 768)),
        ((480, 640), 0.5, (384, 512)),
        ((480, 640), 2.0, (1536, 2048)),
        # 1024 * 0.1 = 102.4 of 640: factor 0.16, 427 * 0.16 = 68.32.
        ((427, 640), 0.1, (68, 102)),
        # Factor 1: 2048 * 0.5 / 1024. Halves: 2.5 -> 2, 3.5 -> 4 below.
        ((1024, 3), 1.0, (1024, 3)),
        ((2048, 5), 1.0, (1024, 2)),
        ((2048, 7), 1.0, (1024, 4)),
        # Never less than one pixel.
        ((2000, 1), 0.1, (102, 1)),
    ],
)
def test_the_scaled_size_is_rounded_half_to_even(size, ratio, scaled):
    jitter = LargeScaleJitter((1024, 1024))
    assert jitter.scaled_size(size, ratio) == scaled


def test_height_and_width_have_their_own_targets():
    jitter = LargeScaleJitter((512, 1024))
    assert jitter.scaled_size((100, 100), 1.0) == (512, 512)
    assert jitter.scaled_size((100, 400), 1.0) == (256, 1024)


def test_the_result_has_the_size_asked_for_whatever_is_drawn():
    jitter = LargeScaleJitter((40, 30))
    for height, width in ((100, 50), (7, 90), (40, 30), (1, 1)):
        for _ in range(10):
            results = jitter(
                dict(
                    img=image_of(height, width),
                    gt_seg_map=coordinates(height, width),
                )
            )
            assert results['img'].shape == (40, 30, 3)
            assert results['gt_seg_map'].shape == (40, 30, 3)
            assert results['img_shape'] == (40, 30)
            assert results['img'].dtype == np.uint8


def test_a_smaller_image_is_padded_at_the_bottom_and_right(monkeypatch):
    img, ids = image_of(20, 30), coordinates(20, 30)
    results = jitter((60, 60), 0.5, 0.9, monkeypatch, img, ids)
    # Factor min(30 / 20, 30 / 30) = 1: the image is as it was.
    assert (results['img'][:20, :30] == img).all()
    assert (results['gt_seg_map'][:20, :30] == ids).all()
    assert (results['img'][20:] == 128).all()
    assert (results['img'][:, 30:] == 128).all()
    assert (results['gt_seg_map'][20:] == 0).all()
    assert (results['gt_seg_map'][:, 30:] == 0).all()


def test_the_padding_can_be_chosen(monkeypatch):
    img = image_of(2, 2)
    results = jitter((4, 4), 0.5, 0.0, monkeypatch, img, pad_value=7)
    assert (results['img'][2:] == 7).all()


@pytest.mark.parametrize(
    ('fraction', 'row', 'column'),
    # 80 x 40 is left of 120 x 60: 40 rows and 20 columns to spare.
    [(0.0, 0, 0), (0.3, 12, 6), (1.0, 40, 20), (0.0125, 0, 0), (0.0375, 2, 1)],
)
def test_one_fraction_places_the_crop_on_both_axes(
    monkeypatch, fraction, row, column
):
    # 0.5 and 1.5 rows are rounded to even: 0 and 2; 0.25 and 0.75 columns.
    ids = coordinates(120, 60)
    results = jitter(
        (80, 40), 1.5, fraction, monkeypatch, image_of(120, 60), ids
    )
    expected = ids[row : row + 80, column : column + 40]
    assert (results['gt_seg_map'] == expected).all()


def test_one_axis_may_be_cropped_and_the_other_padded(monkeypatch):
    ids = coordinates(60, 120)
    # Factor min(1.5 * 80 / 60, 1.5 * 80 / 120) = 1.
    results = jitter((80, 80), 1.5, 0.5, monkeypatch, image_of(60, 120), ids)
    assert (results['gt_seg_map'][:60] == ids[:, 20:100]).all()
    assert (results['gt_seg_map'][60:] == 0).all()
    assert (results['img'][60:] == 128).all()


@pytest.mark.parametrize('ratio', [0.1, 0.37, 1.0, 1.9])
def test_pixels_are_those_of_pillow(monkeypatch, ratio):
    # Pillow's bilinear filter averages when it shrinks, OpenCV's does not.
    img, ids = image_of(97, 61), coordinates(97, 61)
    results = jitter((64, 64), ratio, 0.0, monkeypatch, img, ids)
    factor = ratio * 64 / 97
    width, height = round(61 * factor), round(97 * factor)
    for key, source, method in (
        ('img', img, Image.Resampling.BILINEAR),
        ('gt_seg_map', ids, Image.Resampling.NEAREST),
    ):
        expected = Image.fromarray(source).resize((width, height), method)
        expected = np.asarray(expected)[:64, :64]
        found = results[key][: expected.shape[0], : expected.shape[1]]
        assert (found == expected).all()


@pytest.mark.parametrize('size', [(97, 61), (50, 120), (20, 21)])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_result_is_that_of_resizing_cropping_and_padding(size, channels):
    before = dict(img=image_of(*size)[:, ::-1, ::-1])
    before['gt_seg_map'] = coordinates(*size)
    if channels == 1:
        before['gt_seg_map'] = before['gt_seg_map'][:, ::-1, 1]
    jitter = LargeScaleJitter((64, 80))
    for seed in range(20):
        np.random.seed(seed)
        ratio, fraction = np.random.uniform(0.1, 2.0), np.random.uniform()
        scaled = jitter.scaled_size(size, ratio)
        top, left = (
            round(fraction * max(side - target, 0))
            for side, target in zip(scaled, (64, 80), strict=True)
        )
        np.random.seed(seed)
        results = jitter(dict(before))
        for key, method, value in (
            ('img', 'bilinear', 128),
            ('gt_seg_map', 'nearest', 0),
        ):
            expected = mmcv.imresize(
                before[key],
                scaled[::-1],
                interpolation=method,
                backend='pillow',
            )[top : top + 64, left : left + 80]
            if expected.ndim == 3:
                value = (value,) * 3
            expected = mmcv.impad(expected, shape=(64, 80), pad_val=value)
            assert (results[key] == expected).all(), (seed, key)


def test_ids_are_never_mixed(monkeypatch):
    ids = np.zeros((50, 50, 3), np.uint8)
    ids[::2] = (1, 2, 3)
    results = jitter((64, 64), 0.7, 0.0, monkeypatch, image_of(50, 50), ids)
    found = np.unique(results['gt_seg_map'].reshape(-1, 3), axis=0)
    assert found.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_an_image_without_annotation_can_be_jittered(monkeypatch):
    results = jitter((8, 8), 1.0, 0.0, monkeypatch, image_of(8, 8))
    assert 'gt_seg_map' not in results


def test_ratios_are_drawn_from_the_whole_range(monkeypatch):
    jitter = LargeScaleJitter((10, 10), ratio_range=(0.5, 1.5))
    ratios = []
    monkeypatch.setattr(
        jitter, 'scaled_size', lambda size, ratio: ratios.append(ratio) or size
    )
    for _ in range(2000):
        jitter(dict(img=np.zeros((2, 2, 3), np.uint8)))
    counts = np.histogram(ratios, 10, (0.5, 1.5))[0]
    assert counts.sum() == 2000
    assert counts.min() > 150


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=1024), 'two numbers above 0 as size, got 1024'),
        (dict(size=(1024,)), r'as size, got \(1024,\)'),
        (dict(size=(0, 8)), r'as size, got \(0, 8\)'),
        (dict(ratio_range=0.5), 'as ratio_range, got 0.5'),
        (dict(ratio_range=(0.0, 1.0)), 'above 0 as ratio_range'),
        (dict(ratio_range=(2.0, 0.1)), r'\(smallest, largest\), got \(2.0'),
    ],
)
def test_sizes_and_ratios_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LargeScaleJitter(**(dict(size=(8, 8)) | options))
