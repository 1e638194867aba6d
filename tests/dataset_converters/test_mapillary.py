"""The check of Mapillary Vistas, on drawn images."""

import shutil
from pathlib import Path

import mapillary
import numpy as np
import pytest
from mmengine.config import Config

from projects.oneformer.datasets import (
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from tests.dataset_converters.files import (
    as_rgb,
    files_of,
    read_json,
    read_png,
    write_json,
    write_png,
)

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'

# A bird, a crowd of cars, the last class; 0 is void.
IDS = [[1, 1, 900], [0, 70000, 900]]
# Official labels, which the command shall not change: all void.
LABELS = [[65] * 3] * 2


def panoptic_json(names: list[str]) -> dict:
    return dict(
        images=[
            dict(id=name, file_name=f'{name}.jpg', height=2, width=3)
            for name in names
        ],
        annotations=[
            dict(
                image_id=name,
                file_name=f'{name}.png',
                segments_info=[
                    dict(id=1, category_id=1, iscrowd=0),
                    dict(id=900, category_id=56, iscrowd=1),
                    dict(id=70000, category_id=65, iscrowd=0),
                ],
            )
            for name in names
        ],
        # In another order than that of the ids.
        categories=[
            dict(id=number, name=name, isthing=int(number in (1, 56)))
            for number, name in [*enumerate(mapillary.CLASSES, 1)][::-1]
        ],
    )


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images in the layout of the release of 2018."""
    folder = tmp_path / 'mapillary_vistas'
    for split, names in (('training', ['a', 'b']), ('validation', ['c'])):
        for name in names:
            write_png(
                folder / split / 'images' / f'{name}.jpg', np.zeros((2, 3, 3))
            )
            write_png(folder / split / 'panoptic' / f'{name}.png', as_rgb(IDS))
            write_png(folder / split / 'labels' / f'{name}.png', LABELS)
        write_json(
            folder / split / 'panoptic' / 'panoptic_2018.json',
            panoptic_json(names),
        )
    return folder


def test_a_complete_release_is_left_as_it_is(root, convert):
    before = files_of(root)
    result = convert('mapillary', root)
    assert result.code == 0
    assert 'training: 2 images, all there; 2 of them annotated' in result.out
    assert 'validation: 1 images' in result.out
    assert 'note that the release has 18000 of each' in result.out
    assert files_of(root) == before


def test_missing_labels_are_made_of_panoptic_ones(root, convert):
    shutil.rmtree(root / 'training' / 'labels')
    (root / 'validation' / 'labels' / 'c.png').unlink()
    assert convert('mapillary', root).code == 0
    for name in ('training/labels/b.png', 'validation/labels/c.png'):
        assert read_png(root / name).tolist() == [
            [0, 0, 55],
            [65, 64, 55],
        ]


def test_the_layout_of_v2_is_linked(root, convert):
    expected = files_of(root)
    for split in ('training', 'validation'):
        for name in ('panoptic', 'labels'):
            target = root / split / 'v1.2' / name
            target.parent.mkdir(exist_ok=True)
            (root / split / name).rename(target)
    result = convert('mapillary', root)
    assert result.code == 0
    assert 'now links to' in result.out
    assert (root / 'training' / 'panoptic').is_symlink()
    for name, content in expected.items():
        assert (root / name).read_bytes() == content
    assert 'now links to' not in convert('mapillary', root).out


def test_there_is_no_option_that_changes_the_download(root, convert):
    assert convert('mapillary', root, '--overwrite').code == 2


def test_the_dataset_reads_it(root, mmdet_scope):
    dataset = OneFormerPanopticDataset(
        metainfo=dict(classes=mapillary.CLASSES),
        data_root=str(root / 'training'),
        ann_file='panoptic/panoptic_2018.json',
        data_prefix=dict(img='images', seg='panoptic'),
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            LoadPanopticSegments(),
        ],
    )
    assert dataset[1]['gt_seg_map'].shape == (2, 3, 3)
    segments = dataset[1]['segments_info']
    assert [s['category'] for s in segments] == [0, 55, 64]


def test_class_names_are_those_of_the_configs(mmdet_scope):
    paths = [*CONFIGS.glob('*mapillary*.py')]
    assert paths
    for path in paths:
        metainfo = Config.fromfile(path).train_dataloader.dataset.metainfo
        assert tuple(metainfo['classes']) == mapillary.CLASSES


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('training/images/b.jpg', '1 of 2 images'),
        ('training/panoptic/b.png', '1 of 2 panoptic PNGs are missing'),
        ('validation/panoptic/panoptic_2018.json', 'does not exist'),
    ],
)
def test_a_missing_file_is_named(root, convert, name, message):
    (root / 'training' / 'labels' / 'b.png').unlink()
    (root / name).unlink()
    result = convert('mapillary', root)
    assert result.code == 1
    assert str(root / name) in result.error
    assert message in result.error


def test_other_classes_than_those_of_v1_2_are_refused(root, convert):
    path = root / 'validation' / 'panoptic' / 'panoptic_2018.json'
    content = read_json(path)
    content['categories'][0]['name'] = 'Ego'
    write_json(path, content)
    result = convert('mapillary', root)
    assert result.code == 1
    assert f'{path} has 65 categories' in result.error
    assert 'in the ids [65]' in result.error
    assert 'v1.2 is needed' in result.error


def test_a_missing_folder_is_told_with_where_to_get_it(root, convert):
    shutil.rmtree(root / 'training' / 'panoptic')
    result = convert('mapillary', root)
    assert result.code == 1
    assert "lacks the folders ['panoptic']" in result.error
    assert 'mapillary.com/dataset/vistas' in result.error
