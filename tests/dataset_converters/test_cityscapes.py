"""The converter of Cityscapes, on drawn images and on its layout."""

import shutil
from pathlib import Path

import cityscapes
import numpy as np
import pytest
from mmengine.config import Config

from projects.oneformer.datasets import (
    EvalTargets,
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from tests.dataset_converters.files import (
    files_of,
    read_ids,
    read_json,
    read_png,
    write_json,
    write_png,
)

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'

# 7 road, 26 car, 24 person; the benchmark ignores 4 static and 29 caravan.
LABELS = [
    [7, 7, 26, 4],
    [7, 26, 26, 29],
    [24, 26, 26, 0],
]
# Two cars, one pixel of cars that are not told apart, a person, a caravan.
INSTANCES = [
    [7, 7, 26001, 4],
    [7, 26000, 26001, 29000],
    [24000, 26000, 26, 0],
]
PANOPTIC = [
    [7, 7, 26001, 0],
    [7, 26000, 26001, 0],
    [24000, 26000, 26, 0],
]
SEGMENTS = [
    dict(id=7, category_id=7, area=3, bbox=[0, 0, 2, 2], iscrowd=0),
    dict(id=26, category_id=26, area=1, bbox=[2, 2, 1, 1], iscrowd=1),
    dict(id=24000, category_id=24, area=1, bbox=[0, 2, 1, 1], iscrowd=0),
    dict(id=26000, category_id=26, area=2, bbox=[1, 1, 1, 2], iscrowd=0),
    dict(id=26001, category_id=26, area=2, bbox=[2, 0, 1, 2], iscrowd=0),
]
IMAGES = {
    'train': ['bonn_000000_000019', 'aachen_000000_000019'],
    'val': ['lindau_000000_000019'],
    'test': ['berlin_000000_000019'],
}


def label_path(root: Path, split: str, name: str, kind: str) -> Path:
    city = name.split('_')[0]
    return root / 'gtFine' / split / city / f'{name}_gtFine_{kind}.png'


def image_path(root: Path, split: str, name: str) -> Path:
    city = name.split('_')[0]
    folder = root / 'leftImg8bit' / split / city
    return folder / f'{name}_leftImg8bit.png'


@pytest.fixture
def root(tmp_path) -> Path:
    """Four images in the layout of the release."""
    folder = tmp_path / 'cityscapes'
    for split, names in IMAGES.items():
        for name in names:
            write_png(image_path(folder, split, name), np.zeros((3, 4, 3)))
            for kind, values, bits in (
                ('labelIds', LABELS, np.uint8),
                ('instanceIds', INSTANCES, np.uint16),
            ):
                path = label_path(folder, split, name, kind)
                write_png(path, values, bits)
    return folder


def json_of(root: Path, split: str, suffix: str = '') -> dict:
    return read_json(
        root / 'gtFine' / f'cityscapes_panoptic_{split}{suffix}.json'
    )


def test_instances_become_segments_and_ignored_labels_void(root, convert):
    assert convert('cityscapes', root).code == 0
    folder = root / 'gtFine' / 'cityscapes_panoptic_train'
    png = folder / 'bonn_000000_000019_gtFine_panoptic.png'
    assert read_ids(png) == PANOPTIC
    assert json_of(root, 'train')['annotations'][1] == dict(
        image_id='bonn_000000_000019',
        file_name='bonn_000000_000019_gtFine_panoptic.png',
        segments_info=SEGMENTS,
    )


def test_file_names_tell_the_city(root, convert):
    convert('cityscapes', root)
    images = json_of(root, 'train')['images']
    assert [image['file_name'] for image in images] == [
        'aachen/aachen_000000_000019_leftImg8bit.png',
        'bonn/bonn_000000_000019_leftImg8bit.png',
    ]
    assert images[0]['id'] == 'aachen_000000_000019'
    assert (images[0]['height'], images[0]['width']) == (3, 4)


def test_train_ids_follow_the_order_of_classes(root, convert):
    convert('cityscapes', root)
    path = label_path(root, 'val', IMAGES['val'][0], 'labelTrainIds')
    assert read_png(path).dtype == np.uint8
    assert read_png(path).tolist() == [
        [0, 0, 13, 255],
        [0, 13, 13, 255],
        [11, 13, 13, 255],
    ]


def test_the_test_split_is_made_only_if_asked_for(root, convert):
    convert('cityscapes', root)
    assert not (root / 'gtFine/cityscapes_panoptic_test.json').exists()
    convert('cityscapes', root, '--splits', 'test')
    assert len(json_of(root, 'test')['images']) == 1


def test_class_names_are_those_of_the_configs(mmdet_scope):
    paths = [*CONFIGS.glob('*cityscapes*.py')]
    assert paths
    for path in paths:
        metainfo = Config.fromfile(path).train_dataloader.dataset.metainfo
        assert list(metainfo['classes']) == [
            label.name for label in cityscapes.LABELS
        ]
        assert list(metainfo['thing_classes']) == [
            label.name for label in cityscapes.LABELS if label.isthing
        ]


def test_the_official_script_makes_the_same(root, tmp_path, convert):
    official = pytest.importorskip(
        'cityscapesscripts.preparation.createPanopticImgs',
        reason='needs cityscapesscripts',
    )
    theirs = tmp_path / 'official'
    theirs.mkdir()
    official.convert2panoptic(str(root / 'gtFine'), str(theirs))
    convert('cityscapes', root, '--splits', 'train', 'val', 'test')
    for split in IMAGES:
        name = f'cityscapes_panoptic_{split}'
        expected = read_json(theirs / f'{name}.json')
        got = json_of(root, split)
        for image in (*expected['images'], *got['images']):
            del image['file_name']
        assert got == expected
        for path in (theirs / name).iterdir():
            mine = root / 'gtFine' / name / path.name
            np.testing.assert_array_equal(read_png(mine), read_png(path))


# ------------------------------------------------- made by the official script


@pytest.fixture
def official(tmp_path, shared_data) -> Path:
    """Real images with a JSON as the official script writes it."""
    folder = tmp_path / 'official'
    source = shared_data / 'camvid_cityscapes_layout'
    for name in ('gtFine', 'leftImg8bit'):
        shutil.copytree(source / name, folder / name)
    return folder


def open_dataset(root: Path, split: str) -> OneFormerPanopticDataset:
    return OneFormerPanopticDataset(
        data_root=str(root),
        ann_file=f'gtFine/cityscapes_panoptic_{split}.json',
        data_prefix=dict(
            img=f'leftImg8bit/{split}',
            seg=f'gtFine/cityscapes_panoptic_{split}',
        ),
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            LoadPanopticSegments(),
            EvalTargets(),
        ],
    )


@pytest.mark.parametrize(('split', 'count'), [('train', 3), ('val', 2)])
def test_an_official_json_is_told_where_the_images_are(
    official, convert, mmdet_scope, split, count
):
    before = json_of(official, split)
    result = convert('cityscapes', official)
    assert result.code == 0
    assert 'was made by cityscapesscripts' in result.out
    assert json_of(official, split, '_official') == before
    after = json_of(official, split)
    for image in (*before['images'], *after['images']):
        del image['file_name']
    assert after == before
    dataset = open_dataset(official, split)
    assert len(dataset) == count
    for index in range(count):
        assert dataset[index]['img'].shape == (360, 480, 3)
    assert sum(len(dataset[i]['instances']) for i in range(count)) > 0


def test_an_official_json_is_changed_once(official, convert):
    convert('cityscapes', official)
    before = files_of(official)
    assert 'was made by' not in convert('cityscapes', official).out
    assert files_of(official) == before


def test_what_was_made_is_as_the_official_files(official, convert):
    before = files_of(official)
    expected = {split: json_of(official, split) for split in ('train', 'val')}
    assert convert('cityscapes', official, '--overwrite').code == 0
    for split, content in expected.items():
        got = json_of(official, split)
        assert got['annotations'] == content['annotations']
        assert [
            (c['id'], c['name'], c['isthing'], c['color'])
            for c in got['categories']
        ] == [
            (c['id'], c['name'], c['isthing'], c['color'])
            for c in content['categories']
        ]
    made = [n for n in before if n.endswith(('_panoptic.png', 'TrainIds.png'))]
    assert len(made) == 10
    source = official.parent / 'before'
    for name in made:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(before[name])
        np.testing.assert_array_equal(
            read_png(official / name), read_png(source / name)
        )


def test_an_official_json_of_other_images_is_refused(root, convert):
    convert('cityscapes', root)
    path = root / 'gtFine' / 'cityscapes_panoptic_train.json'
    content = read_json(path)
    content['images'][0].update(
        id='ulm_000000_000019',
        file_name='ulm_000000_000019_gtFine_leftImg8bit.png',
    )
    write_json(path, content)
    result = convert('cityscapes', root)
    assert result.code == 1
    assert f'{path} has the image ulm_000000_000019' in result.error


# ------------------------------------------------------ what users get wrong


def test_a_missing_release_is_told_with_where_to_get_it(root, convert):
    shutil.rmtree(root / 'gtFine' / 'val')
    result = convert('cityscapes', root)
    assert result.code == 1
    assert "lacks the folders ['gtFine/val']" in result.error
    assert 'gtFine_trainvaltest.zip' in result.error


def test_a_missing_image_is_named(root, convert):
    path = image_path(root, 'val', IMAGES['val'][0])
    path.unlink()
    result = convert('cityscapes', root)
    assert result.code == 1
    assert '1 of 1 labels have no image' in result.error
    assert str(path) in result.error


@pytest.mark.parametrize(
    ('kind', 'values', 'message'),
    [
        ('instanceIds', [[34]], 'has the label id 34: expected 0 to 33'),
        ('instanceIds', [[34001]], 'has the label id 34'),
        ('labelIds', [[255]], 'has the label id 255'),
        ('labelIds', [[[7, 7, 7]]], 'expected one channel'),
    ],
)
def test_a_wrong_label_is_named(root, convert, kind, values, message):
    path = label_path(root, 'val', IMAGES['val'][0], kind)
    write_png(path, values, np.uint16 if 'inst' in kind else np.uint8)
    result = convert('cityscapes', root)
    assert result.code == 1
    assert str(path) in result.error
    assert message in result.error


def test_the_command_does_the_same_with_two_processes(root, run_script):
    result = run_script('cityscapes.py', root, '--workers', 2)
    assert result.returncode == 0, result.stderr
    assert json_of(root, 'train')['annotations'][1]['segments_info'] == (
        SEGMENTS
    )
    assert len(json_of(root, 'val')['images']) == 1
