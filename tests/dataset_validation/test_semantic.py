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
    'empty-image': lambda label, _: map_values(
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
    mends = kind not in ('png-value', 'empty-image', 'image-size')
    assert (kind not in kinds(check_sets(moved))) == mends
    assert files_of(maps) == before


def test_images_that_the_suffix_of_a_config_leaves_out_are_found(maps):
    (maps / 'images' / '1.jpg').rename(maps / 'images' / '1.png')
    (aset,) = find_sets(maps, num_classes=3)
    assert check_sets([aset]).findings == []
    narrow = replace(aset, img_suffix='.jpg')
    found = [(f.kind, f.file[-5:]) for f in check_sets([narrow]).findings]
    assert ('unlisted-image', '1.png') in found


def test_maps_may_be_deep_and_classes_that_never_occur_are_found(maps):
    deep = np.full((HEIGHT, WIDTH), 1, np.uint16)
    for number in range(2):
        map_values(maps / 'labels' / f'{number}.png', deep)
    (found,) = find_sets(maps, num_classes=3)
    findings = check_sets([found]).findings
    assert [f.kind for f in findings] == [*('unused-class', 'unused-class')]
    assert [f.id for f in findings] == [0, 2]


def test_a_set_of_links_is_as_good_as_its_files(maps, tmp_path):
    linked = tmp_path / 'linked'
    linked.mkdir()
    (linked / 'images').symlink_to(maps / 'images')
    (linked / 'labels').mkdir()
    for path in (maps / 'labels').iterdir():
        (linked / 'labels' / path.name).symlink_to(path)
    (found,) = find_sets(linked, num_classes=3)
    assert found.image_dir == linked / 'images'
    assert check_sets([found]).findings == []


def test_endings_in_upper_case_are_found(maps):
    (maps / 'images/0.jpg').rename(maps / 'images/0.JPG')
    (maps / 'labels/1.png').rename(maps / 'labels/1.PNG')
    (found,) = find_sets(maps, num_classes=3)
    report = check_sets([found])
    assert report.findings == []
    assert ', 2 images,' in report.summaries[0]['text']


def test_maps_of_the_ignored_value_and_one_class_are_found(maps):
    for path in (maps / 'labels').iterdir():
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3:9, 4:12] = 255
        map_values(path, mask)
    (found,) = find_sets(maps, num_classes=2)
    (finding,) = [
        f
        for f in check_sets([found]).findings
        if f.kind == 'ignored-foreground'
    ]
    assert finding.level == 'error'
    assert 'the value 0 and the ignored value 255 alone' in finding.message
    # With one class there is nothing else to see.
    one = replace(found, num_classes=1)
    assert 'ignored-foreground' not in kinds(check_sets([one]))


def test_traces_of_jpeg_are_found(maps):
    rng = np.random.default_rng(0)
    path = maps / 'labels/1.png'
    shapes = rng.integers(0, 40, (8, 12)).astype(np.uint8)
    Image.fromarray(shapes.repeat(9, 0).repeat(9, 1)).save(path, 'JPEG')
    (found,) = find_sets(maps, num_classes=256)
    (finding,) = [f for f in check_sets([found]).findings if '1.png' in f.file]
    assert finding.kind == 'png-unreadable'
    assert 'JPEG, which changes the values' in finding.message
    values = np.asarray(Image.open(path))
    map_values(path, values)
    Image.fromarray(values).save(maps / 'images/1.jpg')
    (finding,) = [f for f in check_sets([found]).findings if '1.png' in f.file]
    assert finding.kind == 'png-stray'


def test_classes_of_a_config_are_compared_with_those_of_the_pngs(maps):
    (found,) = find_sets(maps, num_classes=3)
    own = replace(
        found,
        png_classes=('sky', 'road', 'car'),
        classes=('car', 'road', 'sky'),
        thing_classes=('car',),
        model_classes=('car', 'road', 'sky'),
    )
    assert check_sets([own]).findings == []
    for wrong, message in (
        (dict(classes=('car', 'raod', 'sky')), "class 'raod'"),
        (dict(thing_classes=('cow',)), "class 'cow'"),
        (dict(thing_classes=None), 'list the things as thing_classes'),
        (dict(model_classes=('car', 'sky')), 'the model has 2 classes'),
        (dict(classes=('cow',), optional_classes=('cow',)), 'none of the'),
    ):
        report = check_sets([replace(own, **wrong)])
        errors = [str(f) for f in report.findings if f.level == 'error']
        assert any(message in error for error in errors), errors


def test_values_shift_where_zero_is_no_class(maps):
    (found,) = find_sets(maps)
    own = replace(
        found,
        num_classes=3,
        reduce_zero_label=True,
        png_classes=('road', 'car'),
        thing_classes=(),
        training=True,
    )
    assert check_sets([own]).findings == []
    for path in (maps / 'labels').iterdir():
        map_values(path, np.full((HEIGHT, WIDTH), 2, np.uint8))
    (finding,) = check_sets([own]).findings
    assert (finding.kind, finding.id) == ('unused-class', 1)
    assert "'road' is in no image" in finding.message
