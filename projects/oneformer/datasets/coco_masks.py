"""Masks of COCO's layout, polygons or run lengths, checked and then drawn.

pycocotools trusts its input: a polygon with NaN or with a point far outside
the image ends the process, and run lengths that do not add up to the image
show whatever lay in memory. So every mask of an annotation file is drawn
here. This module imports pycocotools alone, so that the tools of ``tools/``
draw masks by it without loading the package.
"""

import reprlib
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# In sides of the image. Farther points are slips, and take long to draw.
FAR = 10
EXPECTED = (
    'expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or run lengths '
    'dict(size=[height, width], counts=...)'
)


def check_segmentation(segmentation: Any, size: tuple[int, int]) -> None:
    """Refuse what is neither polygons nor run lengths of the image.

    Run lengths in COCO's text are decoded by :func:`to_rle` only.

    Args:
        segmentation (list | dict): ``segmentation`` of an annotation.
        size (tuple[int, int]): Height and width of the image.

    Raises:
        ValueError: If it cannot be drawn. The message says why.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            raise ValueError(f'its segmentation is empty: {EXPECTED}')
        for polygon in segmentation:
            _check_polygon(polygon, limit=FAR * max(size))
        return
    if not isinstance(segmentation, dict) or not (
        {'size', 'counts'} <= segmentation.keys()
    ):
        raise ValueError(
            f'its segmentation is {reprlib.repr(segmentation)}: {EXPECTED}'
        )
    own = segmentation['size']
    if not isinstance(own, list | tuple) or list(own) != list(size):
        raise ValueError(
            f'its run lengths have the size {reprlib.repr(own)}, the image '
            f'has {list(size)} (height, width)'
        )
    if not isinstance(segmentation['counts'], str | bytes):
        _check_lengths(segmentation['counts'], size)


def to_rle(segmentation: Any, size: tuple[int, int]) -> dict:
    """Return polygons or run lengths as COCO's compressed run lengths.

    Args:
        segmentation (list | dict): ``segmentation`` of an annotation.
        size (tuple[int, int]): Height and width of the image.

    Returns:
        dict: ``size``, [height, width], and ``counts``, str.

    Raises:
        ValueError: If it cannot be drawn. The message says why.
    """
    check_segmentation(segmentation, size)
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
        return dict(rle, counts=rle['counts'].decode())
    counts = segmentation['counts']
    if isinstance(counts, str | bytes):
        counts = decode_counts(counts)
        _check_lengths(counts, size)
    plain = dict(size=list(size), counts=counts)
    rle = coco_mask.frPyObjects(plain, *size)
    return dict(rle, counts=rle['counts'].decode())


def draw_mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of polygons or run lengths, bool (H, W).

    The arguments and errors are those of :func:`to_rle`.
    """
    return coco_mask.decode(to_rle(segmentation, size)).astype(bool)


def _check_polygon(polygon: object, limit: float) -> None:
    if not isinstance(polygon, list):
        raise ValueError(
            f'its polygon is {reprlib.repr(polygon)}: expected a list '
            '[x1, y1, x2, y2, x3, y3, ...]'
        )
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(
            f'a polygon has {len(polygon)} numbers: expected 3 points or '
            'more, [x1, y1, x2, y2, x3, y3, ...]'
        )
    try:
        total = sum(polygon)  # NaN if one of them is
        near = -limit < min(polygon) and max(polygon) < limit
    except TypeError as error:
        raise ValueError(
            f'a polygon holds something else than numbers: '
            f'{reprlib.repr(polygon)}'
        ) from error
    if not near or total != total:
        raise ValueError(
            'a polygon has points that are not finite or lie far outside the '
            f'image: {reprlib.repr(polygon)}'
        )


def _check_lengths(lengths: object, size: tuple[int, int]) -> None:
    height, width = size
    if not isinstance(lengths, list) or not all(
        type(length) is int and length >= 0 for length in lengths
    ):
        raise ValueError(
            f'its run lengths are {reprlib.repr(lengths)}: expected a list '
            'of whole numbers, or the text of COCO'
        )
    if sum(lengths) != height * width:
        raise ValueError(
            f'its run lengths do not add up to the image: they have '
            f'{sum(lengths)} pixels, the image {height * width}'
        )


def decode_counts(text: str | bytes) -> list[int]:
    """Return the run lengths that COCO's text stands for.

    A number has 5 bits per character, the lowest first; bit 6 says that
    another follows, the highest bit of the last is the sign. From the fourth
    number on each is the difference from the one before the last.

    Raises:
        ValueError: If the text is broken.
    """
    if isinstance(text, str):
        text = text.encode('ascii', 'replace')
    lengths: list[int] = []
    value = shift = 0
    for byte in text:
        code = byte - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError('its run lengths hold wrong characters')
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        if value < 0:
            raise ValueError('its run lengths hold a negative number')
        lengths.append(value)
        value, shift = 0, 0
    if shift:
        raise ValueError('its run lengths break off')
    return lengths
