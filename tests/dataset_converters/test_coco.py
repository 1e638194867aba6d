"""The converters of panoptic annotations, on drawn and on real images."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from tests.dataset_converters.files import (
    as_rgb,
    files_of,
    read_json,
    read_png,
    write_json,
    write_png,
)

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/coco_panoptic.py'
# A person, a crowd of persons and grass; 77 is not in the JSON.
IDS = [
    [70000, 70000, 300, 0],
    [70000, 5, 300, 77],
]
CONTENT = dict(
    info=dict(year=2018),
    images=[
        dict(id=9, file_name='000000000009.jpg', height=2, width=4),
        dict(id=3, file_name='000000000003.jpg', height=2, width=4),
    ],
    annotations=[
        dict(
            image_id=image_id,
            file_name=f'00000000000{image_id}.png',
            segments_info=[
                dict(id=5, category_id=193, iscrowd=0, area=1),
                dict(id=70000, category_id=1, iscrowd=0, area=3),
                dict(id=300, category_id=1, iscrowd=1, area=2),
            ],
        )
        for image_id in (9, 3)
    ],
    categories=[
        dict(id=1, name='person', isthing=1, supercategory='person'),
        dict(id=193, name='grass-merged', isthing=0),
    ],
)


@pytest.fixture
def root(tmp_path) -> Path:
    """Two images in the layout of COCO."""
    folder = tmp_path / 'coco'
    write_json(folder / 'annotations/panoptic_val2017.json', CONTENT)
    for annotation in CONTENT['annotations']:
        png = folder / 'annotations/panoptic_val2017'
        write_png(png / annotation['file_name'], as_rgb(IDS))
    return folder


def test_things_become_instances(root, convert):
    assert convert('coco', root).code == 0
    content = read_json(root / 'annotations/panoptic2instances_val2017.json')
    assert content['images'] == CONTENT['images']
    assert content['info'] == CONTENT['info']
    assert content['categories'] == [
        dict(id=1, name='person', supercategory='person')
    ]
    assert [
        (a['id'], a['image_id'], a['iscrowd']) for a in content['annotations']
    ] == [(1, 9, 0), (2, 9, 1), (3, 3, 0), (4, 3, 1)]
    person, crowd, *_ = content['annotations']
    assert person['category_id'] == 1
    assert (person['area'], person['bbox']) == (3, [0, 0, 2, 2])
    assert (crowd['area'], crowd['bbox']) == (2, [2, 0, 1, 2])
    assert coco_mask.decode(person['segmentation']).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
    ]


def test_instances_can_be_numbered_as_in_the_reference(root, convert):
    convert('coco', root, '--ids-from-zero')
    content = read_json(root / 'annotations/panoptic2instances_val2017.json')
    assert [a['id'] for a in content['annotations']] == [0, 1, 2, 3]


def test_semantic_classes_are_places_in_the_categories(root, convert):
    convert('coco', root)
    png = read_png(root / 'panoptic_semseg_val2017' / '000000000009.png')
    assert png.dtype == np.uint8
    assert png.tolist() == [[0, 0, 0, 255], [0, 1, 0, 255]]


def test_the_zip_in_the_download_is_unpacked(root, convert):
    folder = root / 'annotations' / 'panoptic_val2017'
    archive = folder.with_suffix('.zip')
    with zipfile.ZipFile(archive, 'w') as content:
        for path in folder.iterdir():
            content.write(path, f'panoptic_val2017/{path.name}')
        content.writestr('__MACOSX/panoptic_val2017/._x.png', b'')
    before = files_of(folder)
    shutil.rmtree(folder)
    assert convert('coco', root).code == 0
    assert files_of(folder) == before
    assert not (folder.parent / '.panoptic_val2017.part').exists()


def test_a_zip_of_something_else_is_refused(root, convert):
    folder = root / 'annotations' / 'panoptic_val2017'
    shutil.rmtree(folder)
    archive = folder.with_suffix('.zip')
    with zipfile.ZipFile(archive, 'w') as content:
        content.writestr('val2017/000000000009.jpg', b'')
    result = convert('coco', root)
    assert result.code == 1
    assert f'{archive} has no panoptic_val2017/*.png' in result.error


def test_a_damaged_zip_is_refused(root, convert):
    folder = root / 'annotations' / 'panoptic_val2017'
    shutil.rmtree(folder)
    folder.with_suffix('.zip').write_bytes(b'PK no more')
    result = convert('coco', root)
    assert result.code == 1
    assert 'panoptic_val2017.zip cannot be unpacked' in result.error
    assert not folder.exists()


def test_missing_annotations_are_told_with_where_to_get_them(root, convert):
    shutil.rmtree(root / 'annotations' / 'panoptic_val2017')
    result = convert('coco', root)
    assert result.code == 1
    assert 'panoptic_val2017.zip exists' in result.error
    assert 'panoptic_annotations_trainval2017.zip' in result.error


def change(root: Path, edit) -> Path:
    path = root / 'annotations/panoptic_val2017.json'
    content = read_json(path)
    edit(content)
    write_json(path, content)
    return path


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda c: c.pop('categories'), "expected a list 'categories'"),
        (lambda c: c['images'][1].pop('height'), "lacks ['height']"),
        (
            lambda c: c['categories'][0].pop('isthing'),
            "'person'} without 'isthing'",
        ),
        (
            lambda c: c['annotations'][0]['segments_info'][0].pop('id'),
            "lacks ['id']",
        ),
        (lambda c: c['categories'].pop(), 'that is among its categories'),
        (lambda c: c['images'].pop(), 'has the image_id 3, which no entry'),
        (
            lambda c: c['annotations'][1].update(file_name='000000000009.png'),
            'Several annotations have the PNG 000000000009.png',
        ),
        (
            lambda c: c['annotations'][1].update(file_name='x.png'),
            '1 of 2 panoptic PNGs are missing',
        ),
        (
            lambda c: c['images'][0].update(height=3),
            'its image is (3, 4) (height, width)',
        ),
    ],
)
def test_a_wrong_json_is_explained(root, convert, edit, message):
    change(root, edit)
    result = convert('coco', root)
    assert result.code == 1
    assert message in result.error
    assert 'Traceback' not in result.error


def test_a_json_that_is_cut_off_is_named(root, convert):
    path = root / 'annotations/panoptic_val2017.json'
    path.write_text(path.read_text()[:-9])
    result = convert('coco', root)
    assert result.code == 1
    assert f'{path} cannot be read as JSON' in result.error


def test_a_png_of_something_else_is_named(root, convert):
    path = root / 'annotations/panoptic_val2017/000000000003.png'
    write_png(path, np.zeros((2, 4)))
    result = convert('coco', root)
    assert f'{path} has shape (2, 4)' in result.error
    write_png(path, as_rgb([[1, 2, 3, 4]] * 2))
    result = convert('coco', root)
    assert f'{path} shows none of its segments' in result.error


def test_a_png_with_a_palette_is_read_by_its_colours(root, convert):
    path = root / 'annotations/panoptic_val2017/000000000003.png'
    convert('coco', root)
    before = files_of(root / 'panoptic_semseg_val2017')
    picture = Image.open(path).quantize(8)
    assert picture.mode == 'P'
    picture.save(path)
    convert('coco', root, '--overwrite')
    assert files_of(root / 'panoptic_semseg_val2017') == before


def test_a_segment_that_no_pixel_shows_is_no_instance(root, convert):
    change(
        root,
        lambda content: content['annotations'][0]['segments_info'].append(
            dict(id=1000, category_id=1, iscrowd=0)
        ),
    )
    assert convert('coco', root).code == 0
    content = read_json(root / 'annotations/panoptic2instances_val2017.json')
    assert len(content['annotations']) == 4


@pytest.fixture
def real(tmp_path, shared_data) -> Path:
    shutil.copytree(
        shared_data / 'coco_panoptic_mini/annotations',
        tmp_path / 'annotations',
    )
    return tmp_path


def test_real_images_agree_with_an_independent_conversion(real, convert):
    assert convert('coco', real).code == 0
    ours = read_json(real / 'annotations/panoptic2instances_val2017.json')
    theirs = read_json(real / 'annotations/instances_val2017.json')
    assert ours['annotations'] == theirs['annotations']
    assert ours['categories'] == theirs['categories']
    # COCO's own areas and boxes are those of the pixels.
    panoptic = read_json(real / 'annotations/panoptic_val2017.json')
    things = {c['id'] for c in panoptic['categories'] if c['isthing']}
    assert [
        (segment['area'], segment['bbox'])
        for annotation in panoptic['annotations']
        for segment in annotation['segments_info']
        if segment['category_id'] in things
    ] == [(a['area'], a['bbox']) for a in ours['annotations']]


def test_real_classes_are_those_of_the_config(real, convert, mmdet_scope):
    convert('coco', real)
    classes = Config.fromfile(CONFIG).metainfo['classes']
    panoptic = read_json(real / 'annotations/panoptic_val2017.json')
    names = {c['id']: c['name'] for c in panoptic['categories']}
    for annotation in panoptic['annotations']:
        png = read_png(
            real / 'panoptic_semseg_val2017' / annotation['file_name']
        )
        seen = {s['category_id'] for s in annotation['segments_info']}
        assert {classes[v] for v in np.unique(png) if v != 255} == {
            names[number] for number in seen
        }


def test_any_panoptic_annotations_can_be_converted(root, convert):
    annotations = root / 'annotations'
    arguments = [
        annotations / 'panoptic_val2017.json',
        annotations / 'panoptic_val2017',
        *('--instances', root / 'new' / 'instances.json'),
        *('--semantic', root / 'new' / 'semantic'),
    ]
    assert convert('from_panoptic', *arguments).code == 0
    convert('coco', root)
    assert read_json(root / 'new' / 'instances.json') == read_json(
        annotations / 'panoptic2instances_val2017.json'
    )
    assert files_of(root / 'new' / 'semantic') == files_of(
        root / 'panoptic_semseg_val2017'
    )


def test_something_must_be_asked_for(root, convert):
    result = convert('from_panoptic', root / 'x.json', root)
    assert result.code == 2
    assert 'give --instances or --semantic' in result.error


def test_classes_must_fit_into_a_byte(root, convert):
    many = [dict(id=i, name=f'{i}', isthing=0) for i in range(1, 257)]
    change(root, lambda content: content.update(categories=many))
    result = convert('coco', root)
    assert result.code == 1
    assert '256 categories do not fit below 255' in result.error


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from _annotations import write_png as write_whole

    path = tmp_path / 'a.png'
    write_whole(path, np.zeros((2, 2), np.uint8))
    before = path.read_bytes()

    def fill_up(self, stream, **options):
        Path(stream).write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Image.Image, 'save', fill_up)
    with pytest.raises(OSError, match='No space is left to write .*a.png'):
        write_whole(path, np.ones((2, 2), np.uint8))
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
    assert Image.open(io.BytesIO(before)).size == (2, 2)
