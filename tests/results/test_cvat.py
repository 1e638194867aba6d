"""Shapes of CVAT, decoded by its own SDK."""

import numpy as np
import pytest

masks = pytest.importorskip('cvat_sdk.masks', reason='cvat-sdk is optional')


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_the_sdk_decodes_the_masks(result, task):
    shapes = result.to_cvat(task)
    for shape, segment in zip(shapes, result.segments_of(task), strict=True):
        assert shape.type.value == 'mask' and shape.label_id == segment.label
        mask = masks.decode_mask(shape.points, image_width=8, image_height=6)
        assert np.array_equal(mask, segment.mask)


def test_polygons_are_the_outlines(result):
    sky, *_ = result.to_cvat('panoptic', polygons=True)
    assert sky.type.value == 'polygon' and sky.label_id == 2
    corners = zip(sky.points[::2], sky.points[1::2], strict=True)
    assert sorted(corners) == [(0, 0), (0, 2), (8, 0), (8, 2)]


def test_classes_may_be_chosen(result):
    shapes = result.to_cvat('panoptic', classes=['cat'])
    assert [shape.label_id for shape in shapes] == [0, 0]
    with pytest.raises(ValueError, match=r"Unknown classes \['dog'\]"):
        result.to_cvat(classes=['dog'])
