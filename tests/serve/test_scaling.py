"""Results in another size."""

import numpy as np
import pytest

from projects.oneformer.results import Segment, SegmentationResult
from projects.oneformer.results.segment import encode_mask, segments_of_map
from projects.oneformer.serve.scaling import fit, resize_image, resize_result

CLASSES = ('cat', 'sky')


def instance(mask, id: int, score: float) -> Segment:
    rle = encode_mask(np.array(mask, bool))
    return Segment.from_rle(rle, id, 0, 'cat', True, score)


def small_result() -> SegmentationResult:
    """2 x 4 pixels: a cat on the left, sky on the right."""
    ids = np.array([[3, 3, 7, 7], [3, 3, 7, 0]], np.int32)
    known = {3: (0, 0.5), 7: (1, 0.25)}
    left = [[1, 1, 0, 0], [1, 1, 0, 0]]
    return SegmentationResult(
        height=2,
        width=4,
        classes=CLASSES,
        thing_classes=('cat',),
        image=np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        panoptic=ids,
        segments=segments_of_map(ids, known, CLASSES, ('cat',)),
        semantic=np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8),
        instances=[instance(left, 1, 0.9)],
        hidden=(instance(np.eye(2, 4), 2, 0.1),),
    )


def test_each_pixel_of_a_larger_result_has_the_nearest_value():
    found = resize_result(small_result(), (4, 8))
    twice = np.ones((2, 2), int)
    expected = np.kron(small_result().panoptic, twice)
    assert np.array_equal(found.panoptic, expected)
    assert found.semantic[3].tolist() == [0, 0, 0, 0, 1, 1, 255, 255]
    assert found.image.shape == (4, 8, 3)
    cat, sky = found.segments
    assert (cat.id, cat.area, cat.bbox, cat.score) == (
        3,
        16,
        (0, 0, 4, 4),
        0.5,
    )
    assert (sky.id, sky.area, sky.score) == (7, 12, 0.25)
    assert found.instances[0].mask.sum() == 16


def test_enlarged_and_reduced_again_a_result_is_the_same():
    found = resize_result(resize_result(small_result(), (6, 12)), (2, 4))
    assert np.array_equal(found.panoptic, small_result().panoptic)
    assert np.array_equal(found.semantic, small_result().semantic)
    assert found.instances[0].bbox == (0, 0, 2, 2)


def test_hidden_instances_can_still_be_shown_in_the_new_size():
    found = resize_result(small_result(), (4, 8))
    assert [s.id for s in found.instances] == [1]
    assert [s.id for s in found.filter(0.0).instances] == [1, 2]
    assert found.hidden[0].mask.sum() == 8


def test_a_segment_without_a_pixel_left_is_dropped():
    found = resize_result(small_result(), (1, 1))
    assert len(found.segments) == 1
    assert found.panoptic.shape == (1, 1)
    for segment in (*found.instances, *found.hidden):
        assert segment.area == 1


@pytest.mark.parametrize(
    'size, side, expected',
    [
        ((600, 800), 400, (300, 400)),
        ((30, 40), 400, (30, 40)),
        ((10000, 2), 100, (100, 1)),
    ],
)
def test_a_size_is_reduced_to_its_longer_side(size, side, expected):
    assert fit(size, side) == expected


def test_an_image_of_the_size_is_not_touched():
    image = small_result().image
    assert resize_image(image, (2, 4)) is image
