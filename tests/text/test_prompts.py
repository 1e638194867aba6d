"""The sentences: their wording, their templates and their errors."""

import pytest

from projects.oneformer.tasks import TASKS
from projects.oneformer.text import (
    class_text,
    fill_text_slots,
    filler_text,
    task_sentence,
)


def test_the_task_sentence_names_the_task():
    assert [task_sentence(task) for task in TASKS] == [
        'The task is panoptic',
        'The task is instance',
        'The task is semantic',
    ]


def test_only_the_filler_text_adapts_its_article():
    assert [filler_text(task) for task in TASKS] == [
        'a panoptic photo',
        'an instance photo',
        'a semantic photo',
    ]
    assert class_text('apple') == 'a photo with a apple'


@pytest.mark.parametrize(
    'name', ['wall', 'window ', 'road, route', 'Crosswalk - Plain', '{}', '{0']
)
def test_a_class_name_enters_its_text_unchanged(name):
    assert class_text(name) == 'a photo with a ' + name


def test_templates_can_be_replaced():
    assert task_sentence('semantic', template='do {} now') == 'do semantic now'
    assert class_text('car', template='{} from above') == 'car from above'
    assert filler_text('instance', template='{} map') == 'an instance map'


def test_braces_beside_the_placeholder_are_text():
    assert class_text('car', template='{a} {} {0}') == '{a} car {0}'


@pytest.mark.parametrize('template', ['', 'a photo', '{} {}', '{0}', None])
@pytest.mark.parametrize(
    'write, words',
    [
        (task_sentence, 'semantic'),
        (class_text, 'car'),
        (filler_text, TASKS[0]),
    ],
)
def test_a_template_without_one_placeholder_is_refused(write, words, template):
    with pytest.raises(ValueError, match="Expected a template with one '{}'"):
        write(words, template=template)


@pytest.mark.parametrize('write', [task_sentence, filler_text])
@pytest.mark.parametrize('task', ['', 'Semantic', 'depth'])
def test_an_unknown_task_is_refused(write, task):
    with pytest.raises(ValueError, match='Unknown task'):
        write(task)


@pytest.mark.parametrize('name', [None, 3, b'car'])
def test_a_class_name_that_is_no_text_is_refused(name):
    with pytest.raises(TypeError, match='not class indices'):
        class_text(name)


@pytest.mark.parametrize('name', ['', ' '])
def test_a_blank_class_name_is_refused(name):
    with pytest.raises(ValueError, match='name every class'):
        class_text(name)


@pytest.mark.parametrize(
    'texts, slots',
    [
        ([], ['-', '-', '-']),
        (['a'], ['a', '-', '-']),
        (('a', 'b', 'c'), ['a', 'b', 'c']),
        (['a', 'b', 'c', 'd'], ['a', 'b', 'c']),
    ],
)
def test_texts_are_cut_or_padded_to_the_slots(texts, slots):
    assert fill_text_slots(texts, filler='-', num_slots=3) == slots


def test_no_slots_take_no_texts():
    assert fill_text_slots(['a'], filler='-', num_slots=0) == []


def test_filling_slots_leaves_the_given_texts_alone():
    texts = ['a']
    fill_text_slots(texts, filler='-', num_slots=2).append('b')
    assert texts == ['a']


def test_a_single_text_is_not_a_list_of_letters():
    with pytest.raises(TypeError, match='put it in a list'):
        fill_text_slots('car', filler='-', num_slots=2)


def test_fewer_than_no_slots_are_refused():
    with pytest.raises(ValueError, match='got -1: .* learned context'):
        fill_text_slots([], filler='-', num_slots=-1)
