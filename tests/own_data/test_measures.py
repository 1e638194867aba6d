"""Sizes of images and objects, from small annotations."""

import numpy as np
import pytest
from _package import coco_layout
from own_data.measures import (
    Shapes,
    measure_instances,
    measure_label_maps,
    measure_panoptic,
    spread,
    summarize,
)
from PIL import Image

SQUARE = [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]  # 2 x 2 pixels


def content(annotations: list[dict], kind: str = 'instance'):
    """Return the entries of a file with two images, 8 x 4 and 6 x 10."""
    raw = dict(
        images=[
            dict(id=1, file_name='a.jpg', height=4, width=8),
            dict(id=2, file_name='b.jpg', height=10, width=6),
        ],
        annotations=annotations,
        categories=[dict(id=1, name='a', isthing=1), dict(id=2, name='b')],
    )
    if kind == 'panoptic':
        raw['categories'][1]['isthing'] = 0
    return coco_layout.require_coco(raw, kind, 'test')[0]


def instance(image: int, **more) -> dict:
    return dict(
        id=1, image_id=image, category_id=1, segmentation=SQUARE, **more
    )


def test_instances_are_counted_and_measured():
    shapes = measure_instances(
        content(
            [
                instance(1, area=25.0),
                instance(1),  # of its mask: 4 pixels
                instance(1, iscrowd=1, area=9.0),
            ]
        )
    )
    assert shapes == Shapes([(4, 8), (10, 6)], [3, 0], [25.0, 4.0])


@pytest.mark.parametrize('written', [True, False])
def test_things_of_panoptic_data_are_measured(written, tmp_path):
    """By the areas that the file has, or else by its PNG."""
    segments = [dict(id=1, category_id=1), dict(id=2, category_id=2)]
    if written:
        segments[0]['area'] = 7
    ids = np.zeros((4, 8, 3), np.uint8)
    ids[:2, :3, 0] = 1  # 6 pixels
    ids[2:, :, 0] = 2
    Image.fromarray(ids).save(tmp_path / 'a.png')
    annotation = dict(image_id=1, file_name='a.png', segments_info=segments)
    shapes = measure_panoptic(content([annotation], 'panoptic'), tmp_path)
    assert shapes.areas == ([7] if written else [6])
    assert shapes.segments == [2]


def test_label_maps_have_classes_and_no_objects():
    maps = [np.array([[0, 1, 255]]), np.array([[2, 2, 2]])]
    assert measure_label_maps(maps, 255) == Shapes(
        [(1, 3), (1, 3)], [2, 1], []
    )


def test_a_set_is_summarized_by_medians_and_quartiles():
    shapes = Shapes(
        [(30, 40), (30, 40), (50, 20), (30, 60)],
        [1, 2, 3, 4],
        [16.0, 16.0, 16.0, 10_000.0, 10_000.0],
    )
    found = summarize(shapes, num_train=3, num_val=1)
    assert (found.height, found.width) == (30, 40)
    assert found.turned == 0.25
    assert found.object_side == 4.0
    assert (found.segments, found.most_segments) == (4, 4)


def test_a_long_list_is_read_evenly():
    assert list(spread(range(10), 4)) == [0, 3, 6, 9]
    assert list(spread(range(3), 4)) == [0, 1, 2]
