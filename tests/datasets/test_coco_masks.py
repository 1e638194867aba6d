"""Masks of COCO's layout: drawn as pycocotools does, or refused."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from projects.oneformer.datasets.coco_masks import (
    check_segmentation,
    decode_counts,
    draw_mask,
)

SIZE = (6, 8)


def random_mask(height: int, width: int) -> np.ndarray:
    mask = np.random.default_rng(1).random((height, width)) > 0.4
    mask[:, width // 6 : width // 2] = 0
    return mask


def encoded(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def test_the_text_of_run_lengths_is_decoded():
    mask = random_mask(40, 300)
    lengths = decode_counts(encoded(mask)['counts'].decode())
    values = np.arange(len(lengths)) % 2
    np.testing.assert_array_equal(
        np.repeat(values, lengths), mask.ravel(order='F')
    )


@pytest.mark.parametrize('form', ['text', 'bytes', 'numbers'])
def test_run_lengths_are_drawn_in_every_form(form):
    mask = random_mask(*SIZE)
    counts = encoded(mask)['counts']
    forms = dict(
        text=counts.decode(), bytes=counts, numbers=decode_counts(counts)
    )
    drawn = draw_mask(dict(size=list(SIZE), counts=forms[form]), SIZE)
    assert drawn.dtype == bool
    assert drawn.tolist() == mask.tolist()


def test_polygons_are_joined():
    squares = [[0, 0, 2, 0, 2, 2, 0, 2], [4.0, 2, 6, 2, 6, 4, 4, 4]]
    expected = np.zeros(SIZE, int)
    expected[:2, :2] = expected[2:4, 4:6] = 1
    assert draw_mask(squares, SIZE).astype(int).tolist() == expected.tolist()


def test_points_just_outside_are_cut():
    square = [[-3, -3, 2, -3, 2, 2, -3, 2]]
    assert draw_mask(square, SIZE).sum() == 4


NAN, FAR = float('nan'), 3.5e8
REFUSED = [
    (None, 'expected polygons'),
    ('abc', 'expected polygons'),
    (dict(counts=[48]), 'expected polygons'),
    ([], 'is empty'),
    ([1, 1, 4, 1, 4, 4], 'expected a list'),
    ([[]], 'has 0 numbers'),
    ([[1, 2, 3, 4]], 'has 4 numbers'),
    ([[1, 1, 4, 1, 4, 4, 1]], 'has 7 numbers'),
    ([[1, 1, 4, 1, 4, None]], 'something else than numbers'),
    ([[1, 1, 4, 1, 4, '4']], 'something else than numbers'),
    ([[[1, 1]] * 6], 'something else than numbers'),
    ([[NAN, 1, 4, 1, 4, 4]], 'not finite'),
    ([[1, 1, 4, 1, 4, NAN]], 'not finite'),
    ([[1, 1, float('inf'), 1, 4, 4]], 'not finite'),
    ([[1, 1, FAR, FAR, 4, 4]], 'far outside'),
    ([[1, 1, 10**400, 1, 4, 4]], 'far outside'),
    (dict(size=[8, 6], counts=[48]), 'have the size [8, 6]'),
    (dict(size=None, counts=[48]), 'have the size None'),
    (dict(size=[6, 8], counts=[10, 2, 35]), 'have 47 pixels, the image 48'),
    (dict(size=[6, 8], counts=[50, -2]), 'a list of whole numbers'),
    (dict(size=[6, 8], counts=[24.0, 24]), 'a list of whole numbers'),
    (dict(size=[6, 8], counts={}), 'a list of whole numbers'),
]


@pytest.mark.parametrize(('segmentation', 'message'), REFUSED)
def test_what_cannot_be_drawn_is_refused_with_its_reason(
    segmentation, message
):
    with pytest.raises(ValueError) as caught:
        check_segmentation(segmentation, SIZE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ('@@', 'negative'),
        ('d', 'break off'),
        ('\x7f\xff', 'wrong characters'),
        ('o' * 100, 'wrong characters'),
        ('', 'do not add up'),
    ],
)
def test_broken_text_is_refused_before_it_is_drawn(counts, message):
    with pytest.raises(ValueError, match=message):
        draw_mask(dict(size=list(SIZE), counts=counts), SIZE)
