"""Sets of label maps: every violation of a map."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_validation import check_sets, find_sets, write_fixed
from PIL import Image

from tests.dataset_validation.tiny_sets import (
    HEIGHT,
    WIDTH,
    files_of,
    kinds,
    tag,
)


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / 'maps'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        rng = np.random.default_rng(number)
        photo = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(photo).save(folder / 'images' / f'{number}.jpg')
        classes = np.repeat([[0, 1, 2, 255]], HEIGHT, 0).repeat(5, 1)
        label = Image.fromarray(classes.astype(np.uint8))
        label.save(folder / 'labels' / f'{number}.png')
    return folder


def test_clean_maps_of_classes_have_no_findings(maps):
    (found,) = find_sets(maps, num_classes=3)
    assert (found.kind, found.seg_dir.name) == ('semantic', 'labels')
    assert check_sets([found]).findings == []


def test_maps_may_have_a_palette_and_names_with_an_ending(maps):
    for path in sorted((maps / 'labels').iterdir()):
        image = Image.open(path)
        image.putpalette(list(range(256)) * 3)
        image.save(path.with_name(f'{path.stem}_mask.png'))
        path.unlink()
    (found,) = find_sets(maps, num_classes=3)
    assert found.label_name == ('', '_mask')
    assert check_sets([found]).findings == []


def map_values(path, values):
    Image.fromarray(values).save(path)


MAP_CHANGES = {
    'png-value': lambda label, _: map_values(
        label, np.full((HEIGHT, WIDTH), 3, np.uint8)
    ),
    'empty-picture': lambda label, _: map_values(
        label, np.full((HEIGHT, WIDTH), 255, np.uint8)
    ),
    'image-size': lambda label, _: map_values(
        label, np.ones((HEIGHT, 9), np.uint8)
    ),
    'png-mode': lambda label, _: Image.open(label).convert('RGB').save(label),
    'png-missing': lambda label, _: label.unlink(),
    'png-unreadable': lambda label, _: label.write_bytes(b'PNG'),
    'unlisted-png': lambda _, picture: picture.unlink(),
    'image-unreadable': lambda _, picture: picture.write_bytes(b''),
    'exif-rotation': lambda _, picture: tag(picture, 8),
}


@pytest.mark.parametrize('kind', MAP_CHANGES)
def test_a_violation_of_a_map_is_found(maps, tmp_path, kind):
    sets = find_sets(maps, num_classes=3)
    picture, label = maps / 'images' / '1.jpg', maps / 'labels' / '1.png'
    MAP_CHANGES[kind](label, picture)
    before = files_of(maps)
    found = [f for f in check_sets(sets).findings if f.kind == kind]
    assert len(found) == 1
    assert found[0].file in (str(picture), str(label))
    moved, _ = write_fixed(sets, tmp_path / 'copy', maps)
    mends = kind not in ('png-value', 'empty-picture', 'image-size')
    assert (kind not in kinds(check_sets(moved))) == mends
    assert files_of(maps) == before


def test_images_that_the_suffix_of_a_config_leaves_out_are_found(maps):
    (maps / 'images' / '1.jpg').rename(maps / 'images' / '1.png')
    (aset,) = find_sets(maps, num_classes=3)
    assert check_sets([aset]).findings == []
    narrow = replace(aset, img_suffix='.jpg')
    found = [(f.kind, f.file[-5:]) for f in check_sets([narrow]).findings]
    assert ('unlisted-image', '1.png') in found


def test_deep_maps_and_classes_that_never_occur_are_found(maps):
    deep = np.full((HEIGHT, WIDTH), 1, np.uint16)
    for number in range(2):
        map_values(maps / 'labels' / f'{number}.png', deep)
    (found,) = find_sets(maps, num_classes=3)
    findings = check_sets([found]).findings
    assert [f.kind for f in findings] == [
        *('png-mode', 'png-mode', 'unused-class', 'unused-class')
    ]
    assert [f.id for f in findings[2:]] == [0, 2]
