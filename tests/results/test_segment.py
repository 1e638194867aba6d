"""Segments: their measures, masks, run lengths and polygons."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from projects.oneformer.results import Segment
from projects.oneformer.results.segment import encode_mask


def segment_of(rows: list[str]) -> Segment:
    mask = np.array([[letter == '#' for letter in row] for row in rows])
    return Segment.from_rle(encode_mask(mask), 1, 0, 'cat', True)


def test_segments_of_a_map_have_its_measures(result):
    sky, first, second = result.segments
    assert (sky.id, sky.name, sky.label, sky.is_thing) == (1, 'sky', 2, False)
    assert (sky.area, sky.bbox, sky.score) == (16, (0, 0, 8, 2), 0.95)
    assert (first.area, first.bbox) == (7, (0, 2, 3, 3))
    assert (second.area, second.bbox) == (8, (4, 2, 3, 3))
    assert second.is_thing and not second.mask[3, 5]


def test_run_lengths_and_map_give_the_same_segment(result):
    for segment in result.segments:
        again = Segment.from_rle(segment.rle, 9, 0, 'cat', True)
        assert (again.area, again.bbox) == (segment.area, segment.bbox)
        assert np.array_equal(again.mask, segment.mask)
        assert again.rle == segment.rle
        assert np.array_equal(coco_mask.decode(segment.rle), segment.mask)


def test_a_segment_in_plain_types(result):
    assert result.segments[1].to_dict() == {
        'label': 0,
        'class': 'cat',
        'is_thing': True,
        'area': 7,
        'bbox': [0, 2, 3, 3],
        'segmentation': result.segments[1].rle,
        'score': 0.9,
    }


def test_no_score_is_left_out(result):
    assert 'score' not in result.segments_of('semantic')[0].to_dict()


def test_a_polygon_runs_along_the_edges_of_pixels():
    (polygon,) = segment_of(['....', '.##.', '.#..']).polygons()
    corners = {(1, 1), (1, 3), (2, 3), (2, 2), (3, 2), (3, 1)}
    assert set(map(tuple, polygon.tolist())) == corners
    assert len(polygon) == 6


def test_a_single_pixel_and_parts_have_polygons():
    polygons = segment_of(['#...', '...#', '..##']).polygons()
    sizes = sorted(len(polygon) for polygon in polygons)
    assert sizes == [4, 6]


def test_holes_are_filled():
    (polygon,) = segment_of(['###', '#.#', '###']).polygons()
    assert sorted(polygon.tolist()) == [[0, 0], [0, 3], [3, 0], [3, 3]]


def test_a_tolerance_saves_corners():
    staircase = ['#' * (n + 1) + '.' * (19 - n) for n in range(20)]
    segment = segment_of(staircase)
    (exact,), (coarse,) = segment.polygons(), segment.polygons(tolerance=1)
    assert len(exact) == 2 * 20 + 2 and len(coarse) <= 5


@pytest.mark.parametrize(
    'rows',
    [['....', '.#..', '....'], ['......', '.####.', '......']],
    ids=['a pixel', 'a line'],
)
def test_a_tolerance_loses_no_part(rows):
    segment = segment_of(rows)
    (exact,), (coarse,) = segment.polygons(), segment.polygons(tolerance=1)
    np.testing.assert_array_equal(coarse, exact)


@pytest.mark.parametrize('seed', range(5))
def test_pycocotools_draws_the_same_mask_from_polygons(seed):
    """Of masks without holes; parts may touch at corners."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter

    noise = np.random.default_rng(seed).standard_normal((40, 50))
    mask = binary_fill_holes(gaussian_filter(noise, 1.5) > 0.02)
    # A hole may also be closed off by pixels that touch at corners.
    mask = ~(~mask & ~binary_fill_holes(mask, np.ones((3, 3))))
    segment = Segment.from_rle(encode_mask(mask), 1, 0, 'cat', True)
    drawn = np.zeros_like(mask)
    for polygon in segment.polygons():
        rles = coco_mask.frPyObjects(
            [polygon.ravel().astype(float).tolist()], *mask.shape
        )
        drawn |= coco_mask.decode(coco_mask.merge(rles)).astype(bool)
    assert mask.any() and not mask.all()
    np.testing.assert_array_equal(drawn, mask)
