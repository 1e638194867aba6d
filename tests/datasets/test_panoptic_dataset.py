"""The dataset: what it reads from the JSON, and what it says of a bad one."""

import copy
import io
import json
import re

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.logging import MMLogger
from PIL import Image

from projects.oneformer.datasets import (
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)

# Stuff stands between the things, and one category has the id 0.
CATEGORIES = [
    dict(id=0, name='cat', isthing=1),
    dict(id=7, name='sky', isthing=0),
    dict(id=3, name='dog', isthing=1),
]
CONTENT = dict(
    images=[
        dict(id=1, file_name='x/a.jpg', height=2, width=3),
        dict(id='two', file_name='b.jpg', height=4, width=5),
    ],
    annotations=[
        dict(
            image_id='two',
            file_name='b_panoptic.png',
            segments_info=[
                dict(id=1, category_id=7, iscrowd=0),
                dict(id=9, category_id=3, iscrowd=1),
            ],
        ),
        dict(
            image_id=1,
            file_name='x/a_panoptic.png',
            segments_info=[
                dict(id=256**3 - 1, category_id=0, iscrowd=0),
                dict(id=1, category_id=7),
            ],
        ),
    ],
    categories=CATEGORIES,
)


@pytest.fixture
def content() -> dict:
    """An annotation file that is right, for a test to change."""
    return copy.deepcopy(CONTENT)


@pytest.fixture
def make(tmp_path):
    """A function that writes the annotation file and reads it."""

    def make_dataset(content, **options) -> OneFormerPanopticDataset:
        (tmp_path / 'panoptic.json').write_text(json.dumps(content))
        return OneFormerPanopticDataset(
            data_root=str(tmp_path),
            ann_file='panoptic.json',
            data_prefix=dict(img='pictures', seg='segments'),
            **options,
        )

    return make_dataset


def test_an_image_is_given_with_its_segments(make, content, tmp_path):
    dataset = make(content)
    assert len(dataset) == 2
    first = dataset.get_data_info(0)
    assert first['img_path'] == str(tmp_path / 'pictures/x/a.jpg')
    assert first['img_id'] == 1
    assert (first['height'], first['width']) == (2, 3)
    assert first['segments_info'] == [
        dict(id=256**3 - 1, category=0, is_thing=True, iscrowd=False),
        dict(id=1, category=1, is_thing=False, iscrowd=False),
    ]
    assert first['classes'] == ('cat', 'sky', 'dog')
    assert first['thing_classes'] == ('cat', 'dog')


def test_the_segment_file_is_the_one_that_the_annotation_names(
    make, content, tmp_path
):
    dataset = make(content)
    paths = [dataset.get_data_info(i)['seg_map_path'] for i in range(2)]
    assert paths == [
        str(tmp_path / 'segments/x/a_panoptic.png'),
        str(tmp_path / 'segments/b_panoptic.png'),
    ]


def test_segment_ids_may_come_again_in_another_image(make, content):
    dataset = make(content)
    shared = [
        segment
        for i in range(2)
        for segment in dataset.get_data_info(i)['segments_info']
        if segment['id'] == 1
    ]
    assert [segment['category'] for segment in shared] == [1, 1]


def test_a_crowd_is_a_thing_and_not_stuff(make, content):
    segment = make(content).get_data_info(1)['segments_info'][1]
    assert segment == dict(id=9, category=2, is_thing=True, iscrowd=True)


def test_class_names_come_from_the_json(make, content):
    meta = make(content).metainfo
    assert meta['classes'] == ('cat', 'sky', 'dog')
    assert meta['thing_classes'] == ('cat', 'dog')
    assert meta['stuff_classes'] == ('sky',)


def test_metainfo_sets_the_order_of_the_classes(make, content):
    meta = dict(classes=['dog', 'sky', 'cat'], thing_classes=['sky'])
    dataset = make(content, metainfo=meta)
    assert dataset.metainfo['classes'] == ('dog', 'sky', 'cat')
    assert dataset.metainfo['thing_classes'] == ('sky',)
    assert dataset.metainfo['stuff_classes'] == ('dog', 'cat')
    assert [
        (segment['category'], segment['is_thing'])
        for i in range(2)
        for segment in dataset.get_data_info(i)['segments_info']
    ] == [(2, False), (1, True), (1, True), (0, False)]


def test_segments_of_classes_left_out_of_metainfo_become_void(make, content):
    dataset = make(content, metainfo=dict(classes=('sky', 'cat')))
    assert dataset.metainfo['thing_classes'] == ('cat',)
    assert dataset.metainfo['stuff_classes'] == ('sky',)
    segments = [dataset.get_data_info(i)['segments_info'] for i in range(2)]
    assert [s['category'] for s in segments[0]] == [1, 0]
    assert [s['category'] for s in segments[1]] == [0]


def test_thing_classes_of_metainfo_stand_in_for_isthing(make, content):
    for category in content['categories']:
        del category['isthing']
    dataset = make(content, metainfo=dict(thing_classes=('dog',)))
    assert dataset.metainfo['stuff_classes'] == ('cat', 'sky')


def test_isthing_may_be_true_or_false(make, content):
    for category in content['categories']:
        category['isthing'] = bool(category['isthing'])
    assert make(content).metainfo['thing_classes'] == ('cat', 'dog')


def test_a_data_set_may_have_one_class(make, content):
    dataset = make(content, metainfo=dict(classes=('dog',)))
    assert dataset.metainfo['thing_classes'] == ('dog',)
    assert dataset.metainfo['stuff_classes'] == ()


def test_a_lazy_dataset_knows_its_classes_once_it_is_read(make, content):
    dataset = make(content, lazy_init=True)
    assert 'classes' not in dataset.metainfo
    dataset.full_init()
    assert dataset.metainfo['classes'] == ('cat', 'sky', 'dog')


def test_two_datasets_of_one_metainfo_do_not_share_it(make, content):
    meta = dict(classes=('sky', 'cat'))
    make(content, metainfo=meta)
    assert meta == dict(classes=('sky', 'cat'))
    assert make(content).metainfo['classes'] == ('cat', 'sky', 'dog')


def test_images_without_annotation_are_left_out_of_training(
    make, content, tmp_path, monkeypatch
):
    warnings = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(),
        'log',
        lambda level, message: warnings.append((level, message)),
    )
    del content['annotations'][1]
    dataset = make(content)
    assert [dataset.get_data_info(0)['img_id']] == ['two']
    assert len(dataset) == 1
    (warning,) = [message for level, message in warnings if level == 30]
    assert '1 of 2 images' in warning
    assert 'the first is x/a.jpg' in warning


def test_images_without_annotation_are_tested(make, content):
    content['annotations'] = []
    dataset = make(content, test_mode=True)
    assert len(dataset) == 2
    info = dataset.get_data_info(0)
    assert info['seg_map_path'] is None
    assert info['segments_info'] == []


def test_images_without_things_are_filtered_if_asked_for(make, content):
    # The second image has a crowd of dogs, and no dog told apart.
    dataset = make(content, filter_cfg=dict(filter_empty_gt=True))
    assert [dataset.get_data_info(0)['img_id']] == [1]
    assert len(dataset) == 1
    assert len(make(content, filter_cfg=dict(filter_empty_gt=False))) == 2


def test_no_image_is_filtered_in_a_test(make, content):
    config = dict(filter_empty_gt=True)
    assert len(make(content, filter_cfg=config, test_mode=True)) == 2


def test_rare_classes_can_be_drawn_more_often(make, content):
    dataset = make(content)
    assert dataset.get_cat_ids(1) == [1, 2]
    # Each thing is in half of the images, the sky is in both.
    assert len(ClassBalancedDataset(dataset, oversample_thr=0.5)) == 2
    balanced = ClassBalancedDataset(dataset, oversample_thr=1.0)
    assert len(balanced) == 4  # sqrt(1 / 0.5) = 1.4, rounded up


def refused(make, content, **options) -> str:
    with pytest.raises(ValueError) as caught:
        make(content, **options)
    return str(caught.value)


@pytest.mark.parametrize('isthing', [None, 'maybe', 2])
def test_a_category_without_isthing_is_refused(make, content, isthing):
    content['categories'][1]['isthing'] = isthing
    if isthing is None:
        del content['categories'][1]['isthing']
    message = refused(make, content)
    assert "['sky']" in message
    assert "lack 'isthing'" in message
    assert 'add it (1 for things, 0 for stuff)' in message
    assert 'thing_classes in metainfo' in message


def test_an_unused_category_needs_no_isthing(make, content):
    del content['categories'][1]['isthing']
    dataset = make(content, metainfo=dict(classes=('cat', 'dog')))
    assert dataset.metainfo['thing_classes'] == ('cat', 'dog')


def test_a_class_that_is_no_category_is_refused(make, content):
    message = refused(make, content, metainfo=dict(classes=('cat', 'cow')))
    assert "Classes ['cow'] of metainfo are not among" in message
    assert "['cat', 'sky', 'dog']" in message


def test_a_thing_that_is_no_class_is_refused(make, content):
    meta = dict(classes=('cat', 'sky'), thing_classes=('cat', 'dog'))
    message = refused(make, content, metainfo=meta)
    assert "thing_classes ['dog'] of metainfo are not among" in message
    assert 'must be listed in classes' in message


@pytest.mark.parametrize('key', ['classes', 'thing_classes'])
def test_one_name_that_is_no_list_is_refused(make, content, key):
    message = refused(make, content, metainfo={key: 'cat'})
    assert f'Expected a list as {key}' in message
    assert "write ['cat']" in message


def test_a_class_given_twice_is_refused(make, content):
    meta = dict(classes=('cat', 'sky', 'cat'))
    assert 'more than once' in refused(make, content, metainfo=meta)


@pytest.mark.parametrize(
    ('key', 'value', 'repeated'),
    [('id', 0, '[0]'), ('name', 'cat', "['cat']")],
)
def test_categories_that_cannot_be_told_apart_are_refused(
    make, content, key, value, repeated
):
    content['categories'][2][key] = value
    message = refused(make, content)
    assert f'categories with the same {key}: {repeated}' in message


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_a_json_without_one_of_its_lists_is_refused(make, content, key):
    del content[key]
    message = refused(make, content)
    assert 'panoptic.json is not in the COCO panoptic layout' in message
    assert f'expected a list {key!r}' in message


def test_a_json_that_is_a_list_is_refused(make):
    assert 'not in the COCO panoptic layout' in refused(make, [1, 2])


def test_instance_annotations_are_refused(make, content):
    content['annotations'] = [dict(id=1, image_id=1, bbox=[0, 0, 1, 1])]
    message = refused(make, content)
    assert "annotations without 'segments_info'" in message
    assert 'expected COCO panoptic annotations, not instance' in message


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('images', 'id'),
        ('images', 'file_name'),
        ('images', 'height'),
        ('images', 'width'),
        ('annotations', 'image_id'),
        ('annotations', 'file_name'),
        ('categories', 'id'),
        ('categories', 'name'),
    ],
)
def test_an_entry_that_lacks_a_key_is_shown(make, content, name, key):
    del content[name][1][key]
    message = refused(make, content)
    assert 'panoptic.json, entry 1 ' in message
    assert f' of {name}' in message
    assert f'lacks [{key!r}]' in message
    remaining = next(iter(content[name][1].values()))
    assert repr(remaining) in message


@pytest.mark.parametrize('key', ['id', 'category_id'])
def test_a_segment_that_lacks_a_key_is_shown(make, content, key):
    del content['annotations'][0]['segments_info'][1][key]
    message = refused(make, content)
    assert 'entry 1 of segments_info' in message
    assert f'lacks [{key!r}]' in message


@pytest.mark.parametrize('number', [0, -1, 256**3, 'cat'])
def test_an_id_that_a_png_cannot_store_is_refused(make, content, number):
    content['annotations'][1]['segments_info'][0]['id'] = number
    message = refused(make, content)
    assert 'Image x/a.jpg' in message
    assert f'the id {number!r}: expected a whole number from 1' in message
    assert '0 is void' in message


def test_two_segments_of_one_id_are_refused(make, content):
    content['annotations'][0]['segments_info'][1]['id'] = 1
    message = refused(make, content)
    assert 'Image b.jpg' in message
    assert 'several segments with the id 1' in message


def test_a_segment_of_no_category_is_refused(make, content):
    content['annotations'][0]['segments_info'][1]['category_id'] = 4
    message = refused(make, content)
    assert 'Image b.jpg' in message
    assert (
        'category_id 4: expected one of the categories, [0, 7, 3]' in message
    )


def test_a_second_annotation_of_an_image_is_refused(make, content):
    content['annotations'][0]['image_id'] = 1
    message = refused(make, content)
    assert 'several annotations with image_id 1' in message


def test_a_json_that_leaves_no_image_is_refused(make, content):
    for annotation in content['annotations']:
        annotation['image_id'] = f'{annotation["image_id"]}.jpg'
    message = refused(make, content)
    assert 'leaves no image' in message
    assert 'got 2 images and 2 annotations' in message


def test_a_filter_that_leaves_no_image_is_refused(make, content):
    meta = dict(classes=('sky',))
    config = dict(filter_empty_gt=True)
    message = refused(make, content, metainfo=meta, filter_cfg=config)
    assert 'filter_empty_gt leaves none' in message


def test_a_filter_that_is_not_known_is_refused(make, content):
    config = dict(filter_empty_gt=True, min_size=32)
    message = refused(make, content, filter_cfg=config)
    assert "does not know ['min_size'] of filter_cfg" in message


def test_a_missing_json_is_named_with_the_settings_to_check(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        OneFormerPanopticDataset(data_root=str(tmp_path), ann_file='no.json')
    assert f'{tmp_path}/no.json does not exist' in str(caught.value)
    assert 'check data_root and ann_file' in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'text'), [('cut.json', '{"images": [{'), ('notes.txt', 'none')]
)
def test_a_file_that_is_no_json_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f'{name}.* cannot be read as JSON'):
        OneFormerPanopticDataset(data_root=str(tmp_path), ann_file=name)


def image_bytes() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, 'JPEG')
    return buffer.getvalue()


@pytest.mark.parametrize(
    'damage', [lambda x: x[:-400], lambda x: b'', lambda x: b'no picture']
)
def test_a_damaged_image_is_named(make, content, tmp_path, damage):
    path = tmp_path / 'pictures/x/a.jpg'
    path.parent.mkdir(parents=True)
    load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
    dataset = make(content, pipeline=[load])
    path.write_bytes(image_bytes())
    assert dataset[0]['img'].shape == (40, 60, 3)
    path.write_bytes(damage(image_bytes()))
    expected = f'Image {re.escape(str(path))} cannot be read: '
    with pytest.raises(OSError, match=expected):
        dataset[0]


def test_a_missing_image_is_named_with_the_settings_to_check(
    make, content, tmp_path
):
    dataset = make(content, pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(FileNotFoundError) as caught:
        dataset[0]
    path = tmp_path / 'pictures/x/a.jpg'
    assert f'Image {path} does not exist' in str(caught.value)
    assert 'check data_root and data_prefix["img"]' in str(caught.value)


def test_a_missing_segment_file_is_not_taken_for_the_image(make, content):
    dataset = make(content, pipeline=[LoadPanopticSegments()])
    with pytest.raises(FileNotFoundError, match='Panoptic PNG .*a_panoptic'):
        dataset[0]
