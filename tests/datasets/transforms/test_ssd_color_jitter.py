"""Colour jitter: values worked out by hand, and how often each step comes."""

import cv2
import numpy as np
import pytest

from projects.oneformer.datasets import SSDColorJitter
from projects.oneformer.datasets.transforms.ssd_color_jitter import map_hsv

NO, YES = 0, 1
CONTRAST_FIRST, CONTRAST_LAST = 1, 0
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # BGR


def jitter(pixels, coins, uniforms=(), hues=(), monkeypatch=None, **options):
    """Jitter a row of BGR pixels with given draws in place of random ones.

    ``coins`` are, in this order: brightness, order, then those of contrast,
    saturation and hue in the order drawn.
    """
    coins, uniforms, hues = iter(coins), iter(uniforms), iter(hues)
    monkeypatch.setattr(
        np.random,
        'randint',
        lambda low, high=None: next(coins if high is None else hues),
    )
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: next(uniforms))
    img = np.array([pixels], np.uint8)
    before = img.copy()
    result = SSDColorJitter(**options)(dict(img=img))['img']
    assert (img == before).all(), 'the image read is left as it was'
    for draws in (coins, uniforms, hues):
        assert not list(draws), 'all draws are used'
    assert result.dtype == np.uint8
    return [tuple(pixel) for pixel in result[0].tolist()]


@pytest.mark.parametrize(
    ('shift', 'expected'),
    [
        # 13.7 and 260.7, rounded down and cut.
        (10.7, (13, 110, 255)),
        # -17.5, 79.5 and 229.5.
        (-20.5, (0, 79, 229)),
    ],
)
def test_brightness_adds_to_all_values(monkeypatch, shift, expected):
    coins = (YES, CONTRAST_FIRST, NO, NO, NO)
    result = jitter([(3, 100, 250)], coins, [shift], (), monkeypatch)
    assert result == [expected]


@pytest.mark.parametrize(
    ('factor', 'expected'), [(1.5, (1, 151, 255)), (0.5, (0, 50, 100))]
)
@pytest.mark.parametrize(
    'coins',
    [(NO, CONTRAST_FIRST, YES, NO, NO), (NO, CONTRAST_LAST, NO, NO, YES)],
)
def test_contrast_multiplies_all_values(monkeypatch, coins, factor, expected):
    result = jitter([(1, 101, 200)], coins, [factor], (), monkeypatch)
    assert result == [expected]


@pytest.mark.parametrize(
    ('factor', 'expected'),
    [
        # Full saturation is 255; half of it, 127, leaves 1 - 127 / 255.
        (0.5, [(128, 128, 255), (90, 90, 90)]),
        (1.5, [RED, (90, 90, 90)]),
    ],
)
def test_saturation_leaves_the_brightest_value_and_grey_alone(
    monkeypatch, factor, expected
):
    coins = (NO, CONTRAST_FIRST, NO, YES, NO)
    pixels = [RED, (90, 90, 90)]
    assert jitter(pixels, coins, [factor], (), monkeypatch) == expected


@pytest.mark.parametrize(
    ('hue', 'expected'),
    [
        # In steps of 2 degrees: 36 degrees are 6 tenths of the way from red
        # to yellow, 20 degrees back a third of that from red to magenta.
        (18, (0, 153, 255)),
        (-10, (85, 0, 255)),
        (0, RED),
    ],
)
def test_hue_turns_around_the_circle(monkeypatch, hue, expected):
    coins = (NO, CONTRAST_FIRST, NO, NO, YES)
    assert jitter([RED], coins, (), [hue], monkeypatch) == [expected]


def test_the_range_of_the_hue_includes_both_ends(monkeypatch):
    bounds = []

    def randint(low, high=None):
        if high is None:
            return YES
        bounds.append((low, high))
        return 0

    monkeypatch.setattr(np.random, 'randint', randint)
    SSDColorJitter()(dict(img=np.zeros((2, 2, 3), np.uint8)))
    assert bounds == [(-18, 19)]  # the second bound is never drawn


def test_every_step_is_cut_and_rounded_down_on_its_own(monkeypatch):
    # 200 + 32 = 232, times 1.5 is cut to 255; 33 + 32 = 65 -> 97.5 -> 97.
    coins = (YES, CONTRAST_FIRST, YES, NO, NO)
    pixels = [(200, 33, 33)]
    result = jitter(pixels, coins, [32, 1.5], (), monkeypatch)
    assert result == [(255, 97, 97)]


@pytest.mark.parametrize(
    ('order', 'expected'),
    [
        # (255, 255, 225): without the cut, half the saturation would tell
        # first from last. Contrast first: 150 -> 225, 200 -> 255, so that
        # 30 / 255 of saturation is halved: 15 / 255 of 255.
        (CONTRAST_FIRST, (255, 255, 240)),
        # Contrast last: 50 / 200 of saturation is 63.75 -> 64 of 255, halved
        # 32: 200 * (1 - 32 / 255) = 174.9 -> 175; times 1.5 is 262 -> 255.
        (CONTRAST_LAST, (255, 255, 255)),
    ],
)
def test_contrast_comes_before_or_after_saturation(
    monkeypatch, order, expected
):
    uniforms = [1.5, 0.5] if order == CONTRAST_FIRST else [0.5, 1.5]
    coins = {
        CONTRAST_FIRST: (NO, order, YES, YES, NO),
        CONTRAST_LAST: (NO, order, YES, NO, YES),
    }[order]
    result = jitter([(200, 200, 150)], coins, uniforms, (), monkeypatch)
    assert result == [expected]


def test_saturation_always_comes_before_hue(monkeypatch):
    order = []
    for name in ('brightness', 'contrast', 'saturation', 'hue'):
        monkeypatch.setattr(
            SSDColorJitter,
            name,
            lambda self, img, name=name: order.append(name) or img,
        )
    seen = set()
    for _ in range(50):
        order.clear()
        SSDColorJitter()(dict(img=np.zeros((1, 1, 3), np.uint8)))
        seen.add(tuple(order))
    assert seen == {
        ('brightness', 'contrast', 'saturation', 'hue'),
        ('brightness', 'saturation', 'hue', 'contrast'),
    }


def test_images_become_what_values_looked_up_one_by_one_become():
    img = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    table = np.random.default_rng(1).integers(0, 180, 256)
    for channel in (0, 1):
        hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
        hsv[..., channel] = table[hsv[..., channel]]
        expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        assert (map_hsv(img, channel, table) == expected).all()


@pytest.mark.parametrize(
    ('options', 'img', 'changed'),
    [
        (dict(contrast_range=(1, 1)), (100, 100, 100), 'brightness'),
        (dict(brightness_delta=0), (100, 100, 100), 'contrast'),
        (
            dict(brightness_delta=0, contrast_range=(1, 1), hue_delta=0),
            (0, 0, 200),
            'saturation',
        ),
        (
            dict(
                brightness_delta=0,
                contrast_range=(1, 1),
                saturation_range=(1, 1),
            ),
            (0, 0, 200),
            'hue',
        ),
    ],
    ids=['brightness', 'contrast', 'saturation', 'hue'],
)
def test_each_step_comes_half_of_the_time(options, img, changed):
    transform = SSDColorJitter(**options)
    img = np.full((1, 1, 3), img, np.uint8)
    values = [
        tuple(transform(dict(img=img))['img'][0, 0].tolist())
        for _ in range(2000)
    ]
    same = values.count(tuple(img[0, 0].tolist()))
    # Of those drawn, few round to no change; more saturation has none to
    # give: half of the draws. The deviation of 2000 coins is 22.
    expected = {'saturation': 1500, 'hue': 1027}.get(changed, 1010)
    assert abs(same - expected) < 120
    if changed == 'brightness':
        assert {min(values)[0], max(values)[0]} == {68, 131}
    if changed == 'contrast':
        assert {min(values)[0], max(values)[0]} == {50, 149}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(brightness_delta=-1), 'brightness_delta of at least 0, got -1'),
        (dict(hue_delta=-18), 'hue_delta of at least 0, got -18'),
        (dict(contrast_range=(1.5, 0.5)), r'as contrast_range, got \(1.5'),
        (dict(saturation_range=(1.0,)), r'as saturation_range, got \(1.0,'),
    ],
)
def test_ranges_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SSDColorJitter(**options)


def test_the_ranges_are_those_of_ssd():
    assert repr(SSDColorJitter()) == (
        'SSDColorJitter(brightness_delta=32, contrast_range=(0.5, 1.5), '
        'saturation_range=(0.5, 1.5), hue_delta=18)'
    )
