"""Reading panoptic PNGs, of every kind that users have."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets import LoadPanopticSegments
from projects.oneformer.datasets.transforms.load_segments import (
    decode_ids,
    number_ids,
    number_segments,
)

IDS = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]])
CODED = np.array(
    [
        [(0, 0, 0), (1, 0, 0), (255, 0, 0)],
        [(0, 1, 0), (0, 0, 1), (255, 255, 255)],
    ],
    np.uint8,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / 'a.png'


def load(path: Path, ids=(1,), **changes) -> np.ndarray:
    """Read the PNG of a 2 x 3 picture that has segments with these ids."""
    results = dict(
        img_path='a.jpg',
        seg_map_path=str(path),
        height=2,
        width=3,
        segments_info=[dict(id=number) for number in ids],
    )
    results = LoadPanopticSegments().transform(results | changes)
    assert results['seg_fields'] == ['gt_seg_map']
    return results['gt_seg_map']


def refused(path: Path, *args, **changes) -> str:
    with pytest.raises(ValueError) as caught:
        load(path, *args, **changes)
    return str(caught.value)


def test_red_counts_1_green_256_and_blue_65536():
    ids = decode_ids(CODED)
    assert ids.dtype == np.int32
    assert ids.tolist() == IDS.tolist()


def test_decoding_leaves_the_codes_as_they_are():
    coded = CODED.copy()
    decode_ids(coded)
    assert (coded == CODED).all()


def test_segments_are_numbered_in_their_order():
    segments = [dict(id=65536), dict(id=1), dict(id=77)]
    numbers = number_segments(CODED, segments)
    assert numbers.tolist() == [[0, 2, 0], [0, 1, 0]]
    assert numbers.dtype == np.uint8


def test_without_segments_all_pixels_are_0():
    assert number_segments(CODED, []).tolist() == [[0] * 3] * 2


def test_more_than_255_segments_are_told_apart():
    ids = np.arange(1, 301)
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    segments = [dict(id=int(number)) for number in ids]
    assert number_segments(coded[None], segments).tolist() == [ids.tolist()]


@pytest.mark.parametrize('length', [1, 40])
def test_any_map_is_numbered_as_by_a_comparison_one_by_one(length):
    # Each pixel for itself, and in runs.
    rng = np.random.default_rng(0)
    known = rng.choice(256**3 - 1, 30, replace=False) + 1
    ids = np.repeat(rng.choice(known, 4000 // length), length).reshape(80, 50)
    coded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1)
    listed = [int(number) for number in rng.permutation(known)[:20]]
    expected = np.zeros(ids.shape, int)
    for place, number in enumerate(listed, 1):
        expected[ids == number] = place
    found = number_ids(coded.astype(np.uint8), listed)
    assert (found == expected).all()
    assert found.dtype == np.uint8


def test_one_segment_in_one_row_is_enough(path):
    # Found though most rows do not show it.
    ids = np.full((40, 3), 5)
    ids[37, 1] = 300
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    Image.fromarray(coded).save(path)
    assert (load(path, ids=(300,), height=40) == coded).all()
    message = refused(path, ids=(301,), height=40)
    assert 'expected the ids [301] of the annotation' in message
    assert 'found [5, 300]' in message


def test_an_rgb_png_is_read_as_it_is(path):
    Image.fromarray(CODED).save(path)
    coded = load(path)
    assert coded.dtype == np.uint8
    assert coded.flags.c_contiguous
    assert coded.tolist() == CODED.tolist()


def test_a_png_with_a_palette_is_read_by_its_colours(path):
    # What a tool that saves disk space makes of an RGB one.
    image = Image.fromarray(CODED).quantize(6)
    image.save(path)
    with Image.open(path) as stored:
        assert stored.mode == 'P'
    assert load(path).tolist() == CODED.tolist()


def test_a_palette_of_other_colours_than_ids_is_refused(path):
    image = Image.new('P', (3, 2), 1)
    image.putpalette([0, 0, 0, 128, 64, 0])
    image.save(path)
    message = refused(path)
    assert f'{path} shows none of its segments' in message
    assert 'expected the ids [1] of the annotation' in message
    assert f'found [{128 + 64 * 256}]' in message


def test_one_segment_that_the_png_shows_is_enough(path):
    Image.fromarray(CODED).save(path)
    assert load(path, ids=(77, 256)).tolist() == CODED.tolist()
    assert load(path, ids=()).tolist() == CODED.tolist()


@pytest.mark.parametrize(
    ('picture', 'kind'),
    [
        (np.zeros((2, 3), np.uint8), 'shape (2, 3) and type uint8'),
        (np.zeros((2, 3), np.uint16), 'shape (2, 3) and type uint16'),
        (np.zeros((2, 3, 3), np.uint16), 'shape (2, 3, 3) and type uint16'),
        (np.zeros((2, 3, 4), np.uint8), 'shape (2, 3, 4) and type uint8'),
    ],
    ids=['grey', '16-bit grey', '16-bit RGB', 'RGBA'],
)
def test_another_kind_of_png_is_refused(path, picture, kind):
    cv2.imwrite(str(path), picture)
    message = refused(path)
    assert f'{path} has {kind}' in message
    assert 'expected an RGB picture with 8 bits per channel' in message


def test_a_png_of_another_size_than_annotated_is_refused(path):
    Image.fromarray(CODED).save(path)
    message = refused(path, height=3, width=2)
    assert f'{path} is (2, 3), but its picture is (3, 2)' in message


def test_a_png_of_another_size_than_the_picture_is_refused(path):
    Image.fromarray(CODED).save(path)
    assert load(path, ori_shape=(2, 3)).shape == (2, 3, 3)
    message = refused(path, ori_shape=(3, 2))
    assert f'{path} and its annotation are (2, 3)' in message
    assert 'a.jpg is (3, 2), turned as its EXIF tag says' in message


def test_a_missing_png_is_named_with_the_settings_to_check(path):
    with pytest.raises(FileNotFoundError) as caught:
        load(path)
    assert f'Panoptic PNG {path} does not exist' in str(caught.value)
    assert 'check data_root and data_prefix["seg"]' in str(caught.value)


@pytest.mark.parametrize('keep', [0, 1, 20, -30])
def test_a_damaged_png_is_named(path, keep):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    expected = f'{re.escape(str(path))} cannot be read as a PNG.*restore it'
    with pytest.raises(ValueError, match=expected):
        load(path, height=9, width=9)


def test_a_picture_without_annotation_is_refused():
    message = refused(None, seg_map_path=None)
    assert 'Picture a.jpg has no panoptic annotation' in message
    assert 'leave LoadPanopticSegments out of this pipeline' in message


def test_other_maps_of_the_picture_stay_listed(path):
    Image.fromarray(CODED).save(path)
    results = dict(
        img_path='a.jpg',
        seg_map_path=str(path),
        height=2,
        width=3,
        segments_info=[],
        seg_fields=['gt_depth'],
    )
    results = LoadPanopticSegments()(results)
    assert results['seg_fields'] == ['gt_depth', 'gt_seg_map']
