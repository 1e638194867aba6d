"""Semantic PNGs and instances become panoptic annotations."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import (
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from tests.dataset_converters.files import (
    read_ids,
    read_json,
    write_json,
    write_png,
)

# 0 sky, 1 road, 2 person
SEMANTIC = [
    [0, 0, 0, 9],
    [0, 2, 2, 9],
    [1, 2, 2, 2],
]
SQUARE = [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]
CORNER = coco_mask.encode(
    np.asfortranarray([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], np.uint8)
)
# One pixel, top right, in runs down the columns.
RUNS = dict(size=[3, 4], counts=[9, 1, 2])


def annotation(category: int, segmentation, **more) -> dict:
    return dict(
        id=1,
        image_id=7,
        category_id=category,
        segmentation=segmentation,
        **more,
    )


INSTANCES = dict(
    images=[dict(id=7, file_name='a.jpg', height=3, width=4)],
    categories=[dict(id=1, name='person'), dict(id=4, name='dog')],
    annotations=[
        annotation(4, dict(CORNER, counts=CORNER['counts'].decode())),
        annotation(1, SQUARE, iscrowd=0),
        annotation(1, RUNS, iscrowd=1),
    ],
)


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ('a', 'b'):
        write_png(tmp_path / 'train' / f'{name}.jpg', np.zeros((3, 4, 3)))
        write_png(tmp_path / 'semantic' / f'{name}.png', SEMANTIC)
    write_json(tmp_path / 'instances.json', INSTANCES)
    return tmp_path


@pytest.fixture
def make(root, convert):
    def call(*options, classes=('sky', 'road', 'person')):
        return convert(
            'to_panoptic',
            root / 'train',
            root / 'semantic',
            root / 'annotations' / 'panoptic.json',
            *('--classes', *classes, '--void', 9, *options),
        )

    return call


def result_of(root: Path) -> dict:
    return read_json(root / 'annotations' / 'panoptic.json')


def test_without_instances_every_class_is_stuff(root, make):
    assert make().code == 0
    content = result_of(root)
    assert content['categories'] == [
        dict(id=0, name='sky', isthing=0),
        dict(id=1, name='road', isthing=0),
        dict(id=2, name='person', isthing=0),
    ]
    assert content['images'][1] == dict(
        id=2, file_name='b.jpg', height=3, width=4
    )
    entry = content['annotations'][0]
    assert (entry['image_id'], entry['file_name']) == (1, 'a.png')
    assert entry['segments_info'] == [
        dict(id=1, category_id=0, area=4, bbox=[0, 0, 3, 2], iscrowd=0),
        dict(id=2, category_id=1, area=1, bbox=[0, 2, 1, 1], iscrowd=0),
        dict(id=3, category_id=2, area=5, bbox=[1, 1, 3, 2], iscrowd=0),
    ]


def test_instances_are_pasted_small_over_large(root, make):
    assert make('--instances', root / 'instances.json').code == 0
    content = result_of(root)
    assert [(c['name'], c['isthing']) for c in content['categories']] == [
        ('sky', 0),
        ('road', 0),
        ('person', 1),
        ('dog', 1),
    ]
    # The square is 5, the dog on it 6, the crowd in the void 7. The person
    # that no instance covers is void.
    assert read_ids(root / 'annotations/panoptic/a.png') == [
        [1, 1, 1, 7],
        [1, 5, 5, 0],
        [2, 5, 6, 0],
    ]
    segments = content['annotations'][0]['segments_info']
    assert [
        (s['id'], s['category_id'], s['area'], s['iscrowd']) for s in segments
    ] == [(1, 0, 4, 0), (2, 1, 1, 0), (5, 2, 3, 0), (6, 3, 1, 0), (7, 2, 1, 1)]
    # The second image has no instances.
    assert read_ids(root / 'annotations/panoptic/b.png') == [
        [1, 1, 1, 0],
        [1, 0, 0, 0],
        [2, 0, 0, 0],
    ]


def test_the_dataset_reads_what_is_made(root, make, mmdet_scope):
    make('--instances', root / 'instances.json')
    dataset = OneFormerPanopticDataset(
        data_root=str(root),
        ann_file='annotations/panoptic.json',
        data_prefix=dict(img='train', seg='annotations/panoptic'),
        pipeline=[dict(type='LoadImageFromFile'), LoadPanopticSegments()],
    )
    assert dataset.metainfo['thing_classes'] == ('person', 'dog')
    assert dataset[0]['gt_seg_map'][0, 3].tolist() == [7, 0, 0]


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda c: c.pop('categories'), "expected a list 'categories' in it"),
        (
            lambda c: c['annotations'][0].update(category_id=5),
            'with the category_id 5, which no entry has',
        ),
        (
            lambda c: c['images'][0].update(file_name='c.jpg'),
            'has 1 images that are not in',
        ),
        (
            lambda c: c['annotations'][0].update(segmentation=[[1]]),
            'a polygon has 1 numbers',
        ),
        (
            lambda c: c['annotations'][0].update(segmentation=[]),
            'is empty: expected polygons',
        ),
        (
            lambda c: c['annotations'][2]['segmentation'].pop('counts'),
            'expected polygons [[x1, y1, ',
        ),
        (
            lambda c: c['annotations'][2]['segmentation'].update(
                size=[4, 3], counts=[12]
            ),
            'have the size [4, 3], the image has [3, 4]',
        ),
        (
            lambda c: c['annotations'][2]['segmentation'].update(counts=[9]),
            'do not add up to the image: they have 9 pixels, the image 12',
        ),
        (
            lambda c: c['annotations'][1].update(
                segmentation=[[float('nan'), 1, 3, 1, 3, 3]]
            ),
            'not finite',
        ),
    ],
)
def test_a_wrong_instance_file_is_explained(root, make, edit, message):
    path = root / 'instances.json'
    content = read_json(path)
    edit(content)
    write_json(path, content)
    result = make('--instances', path)
    assert result.code == 1
    assert message in result.error
    assert 'Traceback' not in result.error


def test_a_value_that_is_no_class_is_named(root, make):
    result = make(classes=('sky', 'road'))
    assert result.code == 1
    assert 'a.png has the value 2: expected less than 2' in result.error


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ([[0] * 3] * 3, 'has shape (3, 3): expected the size of'),
        ([[[0] * 3] * 4] * 3, 'is RGB with 8 bits: expected one channel'),
    ],
)
def test_a_semantic_png_of_another_shape_is_named(root, make, values, message):
    write_png(root / 'semantic' / 'b.png', values)
    result = make()
    assert result.code == 1
    assert f'b.png {message}' in result.error


def test_a_palette_is_read_by_its_indices_as_in_training(root, make):
    assert make().code == 0
    path = root / 'annotations' / 'panoptic' / 'b.png'
    before = read_ids(path)
    image = Image.fromarray(np.array(SEMANTIC, np.uint8))
    image.putpalette(list(range(30, 60)))
    image.save(root / 'semantic' / 'b.png')
    shutil.rmtree(root / 'annotations')
    assert make().code == 0
    assert read_ids(path) == before


def test_an_image_without_semantic_png_is_named(root, make):
    (root / 'semantic' / 'b.png').unlink()
    result = make()
    assert result.code == 1
    assert '1 of 2 images' in result.error
    assert 'b.png' in result.error


def test_images_that_share_a_name_are_refused(root, make):
    write_png(root / 'train' / 'b.png', np.zeros((3, 4, 3)))
    assert 'differ in their ending only' in make().error


def test_a_class_given_twice_is_refused(make):
    result = make(classes=('sky', 'road', 'sky'))
    assert '--classes has a name more than once' in result.error
