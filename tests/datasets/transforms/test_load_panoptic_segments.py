"""Reading panoptic PNGs, of every kind that users have."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets import LoadPanopticSegments

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
    """Read the PNG of a 2 x 3 image that has segments with these ids."""
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


def test_a_transparent_colour_changes_no_id(path):
    Image.fromarray(CODED).save(path, transparency=tuple(CODED[0, 0].tolist()))
    assert load(path).tolist() == CODED.tolist()
    image = Image.fromarray(CODED).quantize(6)
    image.save(path, transparency=0)
    coded = load(path)
    assert coded.tolist() == CODED.tolist()
    assert coded.flags.c_contiguous


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
        (np.zeros((2, 3), np.uint8), 'grey with 8 bits'),
        (np.zeros((2, 3), np.uint16), 'grey with 16 bits'),
        (np.zeros((2, 3, 3), np.uint16), 'RGB with 16 bits'),
        (np.zeros((2, 3, 4), np.uint8), 'RGBA with 8 bits'),
    ],
    ids=['grey', '16-bit grey', '16-bit RGB', 'RGBA'],
)
def test_another_kind_of_png_is_refused(path, picture, kind):
    cv2.imwrite(str(path), picture)
    message = refused(path)
    assert f'{path} is {kind}: expected an RGB image' in message


def test_a_png_of_another_size_than_annotated_is_refused(path):
    Image.fromarray(CODED).save(path)
    message = refused(path, height=3, width=2)
    assert f'{path} is (2, 3), but its image is (3, 2)' in message


def test_a_png_of_another_size_than_the_image_is_refused(path):
    Image.fromarray(CODED).save(path)
    assert load(path, ori_shape=(2, 3)).shape == (2, 3, 3)
    message = refused(path, ori_shape=(3, 2))
    assert 'a.jpg is (3, 2) (height, width)' in message
    assert 'but its annotation is (2, 3)' in message
    assert 'EXIF' not in message


def test_a_missing_png_is_named_with_the_settings_to_check(path):
    with pytest.raises(FileNotFoundError) as caught:
        load(path)
    assert f'Panoptic PNG {path} does not exist' in str(caught.value)
    assert 'check data_root and data_prefix["seg"]' in str(caught.value)


@pytest.mark.parametrize('colors', [None, 6])
def test_a_png_whose_end_alone_is_damaged_is_read(path, colors):
    image = Image.fromarray(CODED)
    (image.quantize(colors) if colors else image).save(path)
    content = path.read_bytes()
    assert content[-8:-4] == b'IEND'
    # Its length is 2, though nothing follows: OpenCV reads no pixel then.
    content = content[:-12] + bytes([0, 0, 0, 2]) + content[-8:]
    assert cv2.imdecode(np.frombuffer(content, np.uint8), -1) is None
    path.write_bytes(content)
    assert load(path).tolist() == CODED.tolist()


@pytest.mark.parametrize('keep', [0, 1, 20, -30])
def test_a_damaged_png_is_named(path, keep):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    expected = f'{re.escape(str(path))} cannot be read as a PNG.*Restore'
    with pytest.raises(ValueError, match=expected):
        load(path, height=9, width=9)


def test_an_image_without_annotation_is_refused():
    message = refused(None, seg_map_path=None)
    assert 'Image a.jpg has no panoptic annotation' in message
    assert 'leave LoadPanopticSegments out of this pipeline' in message


def test_other_maps_of_the_image_stay_listed(path):
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
