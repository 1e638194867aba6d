"""Measure images and objects by their annotation.

Sizes come from the entries of a JSON, or the headers of label maps; images
are not decoded. Where reading all would take long, some are read, evenly
spread, so that the numbers are the same in every run.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from _annotations import measure, read_png
from _package import coco_layout, coco_masks, errors, segment_ids
from pycocotools import mask as coco_mask

MOST_OBJECTS = 5000  # whose areas are computed from masks
MOST_MAPS = 100  # PNGs that are read


class Measures(NamedTuple):
    """What the rules know of a data set.

    Attributes:
        num_train (int): Images to train on.
        num_val (int): Images to validate on.
        height (int): Median of the training images, in pixels.
        width (int): See ``height``.
        turned (float): Share of the images that stand where the median
            lies, or the other way round.
        segments (int): That 19 of 20 images have at most.
        most_segments (int): Most segments in one image.
        object_side (float | None): First quartile of the square root of the
            areas of things, in pixels; None if there are none.
    """

    num_train: int
    num_val: int
    height: int
    width: int
    turned: float
    segments: int
    most_segments: int
    object_side: float | None


class Shapes(NamedTuple):
    """What is measured of one set, before it is split.

    Attributes:
        sizes (list[tuple[int, int]]): Height and width of images.
        segments (list[int]): Number of segments of images.
        areas (list[float]): Of things, in pixels.
    """

    sizes: list[tuple[int, int]]
    segments: list[int]
    areas: list[float]


def summarize(shapes: Shapes, num_train: int, num_val: int) -> Measures:
    """Return the measures of a set."""
    heights, widths = zip(*shapes.sizes, strict=True)
    height, width = round(median(heights)), round(median(widths))
    stands = height > width
    turned = sum((h > w) != stands and h != w for h, w in shapes.sizes)
    side = None
    if shapes.areas:
        side = math.sqrt(float(np.quantile(shapes.areas, 0.25)))
    return Measures(
        num_train,
        num_val,
        height,
        width,
        turned / len(shapes.sizes),
        math.ceil(float(np.quantile(shapes.segments, 0.95))),
        max(shapes.segments),
        side,
    )


def measure_instances(content: coco_layout.Coco) -> Shapes:
    """Measure a COCO instance file."""
    sizes = {i['id']: (i['height'], i['width']) for i in content.images}
    counts = Counter(a['image_id'] for a in content.annotations)
    areas = [
        _area(annotation, sizes[annotation['image_id']])
        for annotation in spread(content.annotations, MOST_OBJECTS)
        if annotation['image_id'] in sizes and not annotation.get('iscrowd')
    ]
    return Shapes(
        list(sizes.values()),
        [counts[number] for number in sizes],
        [area for area in areas if area > 0],
    )


def _area(annotation: dict, size: tuple[int, int]) -> float:
    """Return ``area``, which few tools compute wrongly, or compute it."""
    area = annotation.get('area')
    if isinstance(area, int | float) and area > 0:
        return float(area)
    with errors.user_errors():
        rle = coco_masks.to_rle(annotation['segmentation'], size)
    return float(coco_mask.area(rle))


def measure_panoptic(content: coco_layout.Coco, seg_dir: Path) -> Shapes:
    """Measure a COCO panoptic file, and PNGs where it has no areas."""
    things = {c['id'] for c in content.categories if c.get('isthing') == 1}
    areas: list[float] = []
    for annotation in spread(content.annotations, MOST_MAPS * 10):
        own = [
            s
            for s in annotation['segments_info']
            if s['category_id'] in things and not s.get('iscrowd')
        ]
        areas += [s['area'] for s in own if s.get('area')]
    if not areas:
        for annotation in spread(content.annotations, MOST_MAPS):
            numbers = {
                s['id']
                for s in annotation['segments_info']
                if s['category_id'] in things
            }
            with errors.user_errors():
                png = read_png(seg_dir / annotation['file_name'])
                ids = segment_ids.decode_ids(png.pixels)
            found = measure(ids)
            areas += [m.area for n, m in found.items() if n in numbers]
    return Shapes(
        [(image['height'], image['width']) for image in content.images],
        [len(a['segments_info']) for a in content.annotations],
        areas,
    )


def measure_label_maps(maps: Sequence[np.ndarray], ignored: int) -> Shapes:
    """Measure some label maps, (H, W) each."""
    counts = [len(np.setdiff1d(np.unique(m), [ignored])) for m in maps]
    return Shapes([m.shape for m in maps], counts, [])


def spread(entries: Sequence, most: int) -> Sequence:
    """Return at most so many entries, evenly spread."""
    return entries[:: max(1, math.ceil(len(entries) / most))]
