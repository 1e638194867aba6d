"""Classes and things, by the annotation or by a list."""

import numpy as np
import pytest
from own_data.labels import (
    instance_labels,
    listed_classes,
    panoptic_labels,
    semantic_labels,
)

from tests.own_data.test_measures import content, instance

MAPS = [np.array([[0, 1]]), np.array([[2, 255]])]


def panoptic(*categories: int):
    segments = [dict(id=i, category_id=c) for i, c in enumerate(categories, 1)]
    annotation = dict(image_id=1, file_name='a.png', segments_info=segments)
    return content([annotation], 'panoptic')


def test_categories_that_no_image_shows_are_left_out():
    labels = instance_labels([content([instance(1)])])
    assert labels.classes == labels.things == ('a',)
    assert labels.why.endswith('without b, which no image shows')


def test_a_category_that_only_validation_shows_is_a_class():
    labels = panoptic_labels([panoptic(1), panoptic(2)], None)
    assert labels.classes == ('a', 'b')
    assert labels.things == ('a',)


def test_annotation_without_objects_is_refused():
    with pytest.raises(ValueError, match='The annotation has no objects'):
        instance_labels([content([])])


def test_things_have_to_be_named_where_the_data_does_not():
    unknown = panoptic(1, 2)
    for category in unknown.categories:
        category.pop('isthing')
    with pytest.raises(ValueError, match=r"\['a', 'b'\] lack isthing"):
        panoptic_labels([unknown], None)
    assert panoptic_labels([unknown], ['b']).things == ('b',)
    with pytest.raises(ValueError, match=r"as --things, got \['c'\]"):
        panoptic_labels([unknown], ['c'])


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('classes.txt', 'sky\nroad\n\ncar\n'),
        ('labels.json', '["sky", "road", "car"]'),
        ('names.json', '{"1": "road", "0": "sky", "2": "car"}'),
        ('_classes.csv', 'Pixel Value, Class\n0, sky\n2, car\n1, road\n\n'),
    ],
)
def test_names_of_values_are_read_from_a_list(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    names, source = listed_classes(tmp_path)
    assert names == ['sky', 'road', 'car']
    assert source == f'from {name}'


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('classes.txt', 'sky\nStraße'.encode('utf-16')),
        ('labels.json', b'["sky", '),
        ('_classes.csv', b'Pixel Value, Class\n0\n'),
        ('_classes.csv', b'Pixel Value, Class\nsky, 0\n'),
    ],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f'{name} cannot be read .* UTF-8'):
        listed_classes(tmp_path)


def test_label_maps_have_the_classes_of_the_list(tmp_path):
    (tmp_path / 'classes.txt').write_text('sky\nroad\ncar\n')
    labels = semantic_labels(tmp_path, MAPS, None, None)
    assert labels.classes == ('sky', 'road', 'car')
    assert labels.things == ()
    assert not labels.reduce_zero_label


def test_without_a_list_classes_are_numbered(tmp_path):
    labels = semantic_labels(tmp_path, MAPS, None, None)
    assert labels.classes == ('class 0', 'class 1', 'class 2')
    assert 'rename them' in labels.why


def test_values_that_begin_with_one_leave_zero_unlabelled(tmp_path):
    labels = semantic_labels(tmp_path, MAPS, ['sky', 'road'], ['road'])
    assert labels.reduce_zero_label
    assert labels.things == ('road',)


def test_values_without_a_name_are_refused(tmp_path):
    maps = [np.array([[0, 4]])]
    with pytest.raises(ValueError, match='values up to 4, but there are 2'):
        semantic_labels(tmp_path, maps, ['sky', 'road'], None)


def test_maps_of_unlabelled_pixels_alone_are_refused(tmp_path):
    with pytest.raises(ValueError, match='hold the value 255 alone'):
        semantic_labels(tmp_path, [np.full((2, 2), 255)], None, None)
