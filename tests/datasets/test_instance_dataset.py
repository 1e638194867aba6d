"""The dataset of COCO instances: what it reads, and what it refuses."""

import copy
import json

import pytest
from mmengine.logging import MMLogger

from projects.oneformer.datasets import OneFormerInstanceDataset

SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]
RUNS = dict(size=[6, 8], counts=[10, 2, 36])
# One category has the id 0, and they are in no order.
CONTENT = dict(
    images=[
        dict(id=5, file_name='x/a.jpg', height=6, width=8),
        dict(id='two', file_name='b.jpg', height=6, width=8),
    ],
    annotations=[
        dict(id=1, image_id=5, category_id=0, segmentation=SQUARE),
        dict(id=2, image_id=5, category_id=7, segmentation=RUNS, iscrowd=1),
    ],
    categories=[dict(id=7, name='dog'), dict(id=0, name='cat')],
)


@pytest.fixture
def content() -> dict:
    """An annotation file that is right, for a test to change."""
    return copy.deepcopy(CONTENT)


@pytest.fixture
def make(tmp_path):
    """A function that writes the annotation file and reads it."""

    def make_dataset(content, **options) -> OneFormerInstanceDataset:
        (tmp_path / 'instances.json').write_text(json.dumps(content))
        return OneFormerInstanceDataset(
            data_root=str(tmp_path),
            ann_file='instances.json',
            data_prefix=dict(img='pictures'),
            **options,
        )

    return make_dataset


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What is logged as a warning."""
    logged = []

    def log(level: int, message: str) -> None:
        if level == 30:
            logged.append(message)

    monkeypatch.setattr(MMLogger.get_current_instance(), 'log', log)
    return logged


def refused(make, content, **options) -> str:
    with pytest.raises(ValueError) as caught:
        make(content, **options)
    return str(caught.value)


def test_an_image_is_given_with_its_objects(make, content, tmp_path):
    data = make(content).get_data_info(0)
    assert data['img_path'] == str(tmp_path / 'pictures/x/a.jpg')
    assert (data['img_id'], data['height'], data['width']) == (5, 6, 8)
    assert data['segments_info'] == [
        dict(category=1, is_thing=True, iscrowd=False, segmentation=SQUARE),
        dict(category=0, is_thing=True, iscrowd=True, segmentation=RUNS),
    ]


def test_a_sample_says_what_it_can_supervise(make, content):
    data = make(content).get_data_info(0)
    assert data['supervised_tasks'] == ('instance',)
    assert data['annotation'] == 'instance'
    assert data['unlabelled_classes'] == ()
    assert data['void'] == 'background'


def test_classes_come_from_the_json_and_are_things(make, content):
    meta = make(content).metainfo
    assert meta['classes'] == meta['thing_classes'] == ('dog', 'cat')
    assert meta['stuff_classes'] == ()


def test_metainfo_sets_the_order_of_the_classes(make, content):
    dataset = make(content, metainfo=dict(classes=['cat', 'dog']))
    segments = dataset.get_data_info(0)['segments_info']
    assert [segment['category'] for segment in segments] == [0, 1]


def test_an_image_without_objects_is_kept_unless_filtered(make, content):
    assert len(make(content)) == 2
    assert make(content).get_data_info(1)['segments_info'] == []
    filtered = make(content, filter_cfg=dict(filter_empty_gt=True))
    assert len(filtered) == 1


def test_objects_of_classes_left_out_of_metainfo_are_left_out(make, content):
    dataset = make(content, metainfo=dict(classes=['cat']))
    assert len(dataset.get_data_info(0)['segments_info']) == 1


# ------------------------------------------------ classes that are not there


def test_stuff_of_metainfo_need_not_be_in_the_json(make, content):
    meta = dict(classes=('sky', 'cat', 'dog'), thing_classes=('cat', 'dog'))
    dataset = make(content, metainfo=meta)
    assert dataset.metainfo['stuff_classes'] == ('sky',)
    assert dataset.get_data_info(0)['unlabelled_classes'] == ()


def test_a_thing_that_the_json_lacks_is_refused_as_misspelt(make, content):
    message = refused(make, content, metainfo=dict(classes=('cat', 'dig')))
    assert "Classes ['dig'] of metainfo are not among" in message
    assert "['dog', 'cat']" in message
    assert "missing_classes='ignore'" in message
    assert "'background'" in message


@pytest.mark.parametrize(
    ('missing_classes', 'unlabelled'),
    [('ignore', (1, 3)), ('background', ())],
)
def test_a_thing_that_the_json_lacks_may_be_open(
    make, content, missing_classes, unlabelled
):
    things = ('cat', 'cow', 'dog', 'ant')
    dataset = make(
        content,
        metainfo=dict(classes=(*things, 'sky'), thing_classes=things),
        missing_classes=missing_classes,
    )
    data = dataset.get_data_info(0)
    assert data['unlabelled_classes'] == unlabelled


def test_a_json_of_none_of_the_classes_is_refused(make, content):
    message = refused(
        make,
        content,
        metainfo=dict(classes=('ant',)),
        missing_classes='ignore',
    )
    assert "None of the classes of metainfo, ('ant',)" in message


def test_objects_of_a_class_that_is_stuff_are_left_out_with_a_warning(
    make, content, warnings
):
    meta = dict(classes=('cat', 'dog'), thing_classes=('cat',))
    dataset = make(content, metainfo=meta)
    assert len(dataset.get_data_info(0)['segments_info']) == 1
    assert any("Classes ['dog'] of" in text for text in warnings)


@pytest.mark.parametrize(
    ('option', 'value'), [('missing_classes', 'skip'), ('void', 'yes')]
)
def test_an_unknown_option_is_refused(make, content, option, value):
    message = refused(make, content, **{option: value})
    assert f'Expected {option} of the dataset to be one of' in message
    assert f'got {value!r}' in message


# -------------------------------------------------------------- bad files


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_a_json_without_one_of_its_lists_is_refused(make, content, key):
    del content[key]
    message = refused(make, content)
    assert 'not in the COCO instance layout' in message
    assert f'expected a list {key!r}' in message


def test_panoptic_annotations_are_refused(make, content):
    content['annotations'] = [dict(image_id=5, segments_info=[])]
    message = refused(make, content)
    assert 'use OneFormerPanopticDataset' in message


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('images', 'height'),
        ('annotations', 'segmentation'),
        ('categories', 'name'),
    ],
)
def test_an_entry_that_lacks_a_key_is_shown(make, content, name, key):
    del content[name][1][key]
    message = refused(make, content)
    assert f'entry 1 of {name}' in message
    assert f'lacks [{key!r}]' in message


@pytest.mark.parametrize(
    ('name', 'key', 'value', 'shown'),
    [
        ('images', 'id', 5, 'images with the same id: [5]'),
        ('categories', 'id', 7, 'categories with the same id: [7]'),
        ('categories', 'name', 'dog', 'categories with the same name'),
    ],
)
def test_entries_that_cannot_be_told_apart_are_refused(
    make, content, name, key, value, shown
):
    content[name][1][key] = value
    assert shown in refused(make, content)


def test_an_object_of_no_image_is_refused(make, content):
    content['annotations'][1]['image_id'] = 6
    message = refused(make, content)
    assert 'an annotation (id 2) of the image 6' in message
    assert 'add the image or remove the annotation' in message


def test_an_object_of_no_category_is_refused(make, content):
    content['annotations'][1]['category_id'] = 3
    message = refused(make, content)
    assert '(id 2, image 5) with the category_id 3' in message
    assert 'expected one of [7, 0]' in message


@pytest.mark.parametrize(
    'segmentation',
    [
        [],
        [[]],
        [[1, 2, 3, 4]],  # pycocotools would draw a box
        [[1, 1, 4, 1, 4, 4, 1]],
        [1, 1, 4, 1, 4, 4],
        None,
        'abc',
        dict(counts=[10, 2, 36]),
        dict(size=[6, 8]),
        dict(size=[8, 6], counts=[10, 2, 36]),
        dict(size=[6, 8], counts=[10, 2, 35]),
    ],
)
def test_a_mask_that_cannot_be_drawn_is_refused_before_training(
    make, content, segmentation
):
    content['annotations'][0]['segmentation'] = segmentation
    message = refused(make, content)
    assert 'has an annotation (id 1, image x/a.jpg) that cannot' in message
    assert 'Mend or remove it' in message


def test_a_json_without_images_is_refused(make, content):
    content.update(images=[], annotations=[])
    assert 'lists no images' in refused(make, content)


def test_a_missing_json_is_named_with_the_settings_to_check(tmp_path):
    with pytest.raises(FileNotFoundError, match='check data_root and ann_f'):
        OneFormerInstanceDataset(data_root=str(tmp_path), ann_file='no.json')
