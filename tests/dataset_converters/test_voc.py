"""Coloured masks become panoptic annotations or label maps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset_converters.files import read_ids, read_json

B, BORDER = (0, 0, 0), (224, 224, 192)
CAT, DOG = (64, 0, 0), (64, 0, 128)  # of VOC
CLASSES = [[B, CAT, CAT, BORDER], [B, CAT, DOG, DOG]]
# Two cats; the dog has no object at its last pixel.
OBJECTS = [[B, (9, 0, 0), (7, 0, 0), BORDER], [B, (9, 0, 0), (5, 0, 0), B]]
PALETTE = [B, CAT, DOG, BORDER]


@pytest.fixture
def data(tmp_path) -> Path:
    """One image with its masks."""
    folder = tmp_path / 'VOC2012'
    save(folder / 'SegmentationClass/a.png', CLASSES)
    save(folder / 'SegmentationObject/a.png', OBJECTS)
    save(folder / 'JPEGImages/a.jpg', np.zeros((2, 4, 3)))
    return folder


def save(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8)).save(path)


def test_objects_become_segments_and_the_background_stuff(
    convert, data, tmp_path
):
    result = convert('voc', data, tmp_path / 'out')
    assert result.code == 0, result.error
    content = read_json(tmp_path / 'out/panoptic_train.json')
    names = {c['id']: (c['name'], c['isthing']) for c in content['categories']}
    (annotation,) = content['annotations']
    segments = [
        (*names[s['category_id']], s['area'], s['bbox'])
        for s in annotation['segments_info']
    ]
    assert segments == [
        ('background', 0, 2, [0, 0, 1, 2]),
        ('cat', 1, 1, [2, 0, 1, 1]),
        ('cat', 1, 2, [1, 0, 1, 2]),
        ('dog', 1, 1, [2, 1, 1, 1]),
    ]
    ids = read_ids(tmp_path / 'out/panoptic_train/a.png')
    assert ids == [[1, 3, 2, 0], [1, 3, 4, 0]]
    assert content['images'][0]['file_name'] == 'JPEGImages/a.jpg'


@pytest.mark.parametrize('stored', ['RGB', 'palette'])
def test_without_objects_label_maps_are_written(
    convert, data, tmp_path, stored
):
    for path in (data / 'SegmentationObject').iterdir():
        path.unlink()
    (data / 'SegmentationObject').rmdir()
    if stored == 'palette':
        values = [[PALETTE.index(color) for color in row] for row in CLASSES]
        image = Image.fromarray(np.array(values, np.uint8), 'P')
        image.putpalette([value for color in PALETTE for value in color])
        image.save(data / 'SegmentationClass/a.png')
    assert convert('voc', data, tmp_path / 'out').code == 0
    with Image.open(tmp_path / 'out/labels_train/a.png') as png:
        # The eighth class of VOC is the cat, the twelfth the dog.
        assert np.asarray(png).tolist() == [[0, 8, 8, 255], [0, 8, 12, 12]]
    names = (tmp_path / 'out/classes.txt').read_text().splitlines()
    assert (names[0], names[8], names[12]) == ('background', 'cat', 'dog')
    assert (tmp_path / 'out/images_train/a.jpg').is_file()


def test_the_colours_of_labelmap_txt_are_used(convert, data, tmp_path):
    lines = [
        '# label:color_rgb:parts:actions',
        'cow:64,0,0::',
        'cat:64,0,128::',
    ]
    (data / 'labelmap.txt').write_text(
        '\n'.join([*lines, 'background:0,0,0::'])
    )
    assert convert('voc', data, tmp_path / 'out').code == 0
    content = read_json(tmp_path / 'out/panoptic_train.json')
    assert [c['name'] for c in content['categories']] == [
        *('cow', 'cat', 'background')
    ]
    segments = content['annotations'][0]['segments_info']
    assert [s['category_id'] for s in segments] == [0, 0, 1, 2]


def test_lists_of_voc_say_what_is_for_validation(convert, data, tmp_path):
    save(data / 'SegmentationClass/b.png', CLASSES)
    save(data / 'SegmentationObject/b.png', OBJECTS)
    save(data / 'JPEGImages/b.jpg', np.zeros((2, 4, 3)))
    lists = data / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('a\n')
    (lists / 'val.txt').write_text('b\n')
    (lists / 'trainval.txt').write_text('a\nb\n')
    convert('voc', data, tmp_path / 'out')
    for split, name in (('train', 'a'), ('val', 'b')):
        content = read_json(tmp_path / f'out/panoptic_{split}.json')
        names = [image['file_name'] for image in content['images']]
        assert names == [f'JPEGImages/{name}.jpg']


def test_a_colour_of_no_class_is_named(convert, data, tmp_path):
    save(data / 'SegmentationClass/a.png', [[(1, 2, 3)] * 4] * 2)
    error = convert('voc', data, tmp_path / 'out').error
    assert 'a.png has the colour (1, 2, 3), of no class' in error


def test_masks_without_images_are_counted(convert, data, tmp_path):
    (data / 'JPEGImages/a.jpg').unlink()
    error = convert('voc', data, tmp_path / 'out').error
    assert '1 of 1 masks in' in error
    assert 'Save images' in error


def test_a_mask_of_another_size_than_its_image_is_refused(
    convert, data, tmp_path
):
    save(data / 'JPEGImages/a.jpg', np.zeros((4, 4, 3)))
    error = convert('voc', data, tmp_path / 'out').error
    assert 'has shape (2, 4): expected the size of' in error


def test_a_broken_line_of_labelmap_txt_is_shown(convert, data, tmp_path):
    (data / 'labelmap.txt').write_text('cat:64,0::\n')
    error = convert('voc', data, tmp_path / 'out').error
    assert "has the line 'cat:64,0::'" in error
