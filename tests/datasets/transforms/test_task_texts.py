"""The list of texts of an image."""

import numpy as np
import pytest

from projects.oneformer.datasets import TaskTargets, TaskTexts
from projects.oneformer.tasks import TASKS
from projects.oneformer.text import CLIPTokenizer, fill_text_slots

CLASSES = ('window ', 'dog', 'sky, heaven', 'cat')


def texts_of(task: str, labels: list[int], **options) -> dict:
    results = dict(
        task=task,
        gt_bboxes_labels=np.array(labels, np.int64),
        classes=CLASSES,
    )
    return TaskTexts(**options).transform(results)


def test_texts_follow_the_order_of_the_classes_not_of_the_masks():
    texts = texts_of('panoptic', [3, 0, 2])['texts']
    assert texts == [
        'a photo with a window ',
        'a photo with a sky, heaven',
        'a photo with a cat',
    ]


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_a_class_is_named_once_for_each_of_its_masks(task):
    texts = texts_of(task, [3, 1, 3, 1, 3])['texts']
    assert texts == ['a photo with a dog'] * 2 + ['a photo with a cat'] * 3


@pytest.mark.parametrize(
    ('task', 'filler'),
    [
        ('semantic', 'a semantic photo'),
        ('instance', 'an instance photo'),
        ('panoptic', 'a panoptic photo'),
    ],
)
def test_the_filler_names_the_task(task, filler):
    assert texts_of(task, [1])['filler_text'] == filler


def test_without_masks_there_is_only_the_filler():
    results = texts_of('instance', [])
    assert results['texts'] == []
    assert results['filler_text'] == 'an instance photo'


def test_texts_are_plain_str_for_the_tokenizer():
    results = texts_of('semantic', [1])
    assert [type(text) for text in results['texts']] == [str]
    assert type(results['filler_text']) is str


def test_templates_can_be_changed():
    results = texts_of(
        'semantic',
        [1],
        class_template='an x-ray of a {}',
        filler_template='{} x-ray',
    )
    assert results['texts'] == ['an x-ray of a dog']
    assert results['filler_text'] == 'a semantic x-ray'


def test_a_template_without_a_place_for_the_name_is_refused():
    with pytest.raises(ValueError, match="a template with one '{}'"):
        texts_of('semantic', [1], class_template='a photo')


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('seed', range(5))
def test_the_filled_list_is_that_of_the_reference(task, seed):
    """From the annotation to the slots, by counting segments per class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), 9).tolist()
    segments = [
        dict(id=i, category=label, is_thing=label % 2, iscrowd=i == 3)
        for i, label in enumerate(labels, 1)
    ]
    ids = rng.permutation(9).reshape(3, 3) + 1
    ids[ids == 5] = 0  # has no pixel left
    count = [0] * len(CLASSES)
    for segment in segments:
        is_shown = segment['id'] not in (3, 5)
        if is_shown and (task != 'instance' or segment['is_thing']):
            count[segment['category']] += 1
    if task == 'semantic':
        count = [min(number, 1) for number in count]
    slots = 4
    expected = [
        {
            'semantic': 'a semantic photo',
            'instance': 'an instance photo',
            'panoptic': 'a panoptic photo',
        }[task]
    ] * slots
    place = 0
    for label, number in enumerate(count):
        for _ in range(number):
            if place < slots:
                expected[place] = f'a photo with a {CLASSES[label]}'
            place += 1

    results = dict(
        task=task,
        classes=CLASSES,
        segments_info=segments,
        gt_seg_map=np.stack([ids, 0 * ids, 0 * ids], -1).astype(np.uint8),
        seg_fields=['gt_seg_map'],
    )
    results = TaskTexts()(TaskTargets()(results))
    found = fill_text_slots(results['texts'], results['filler_text'], slots)
    assert found == expected


def test_classes_can_be_called_otherwise():
    names = {'dog': 'chien', 'cat': 'small domestic cat'}
    results = texts_of(
        'panoptic', [3, 1, 0], names=names, class_template='photo: {}'
    )
    assert results['texts'] == [
        'photo: window ',
        'photo: chien',
        'photo: small domestic cat',
    ]


def test_another_name_of_no_class_is_refused():
    with pytest.raises(ValueError) as caught:
        texts_of('panoptic', [1], names=dict(dogs='chien'))
    assert "names of TaskTexts has ['dogs']" in str(caught.value)
    assert "'dog'" in str(caught.value)


@pytest.mark.parametrize(
    'name', ['{}', '{dog}', 'a/b', '犬', 'ÄÖÜ', '  x', '🐶', "rock'n'roll"]
)
def test_odd_names_are_text_like_any_other(name):
    results = texts_of('panoptic', [1], names=dict(dog=name))
    assert results['texts'] == [f'a photo with a {name}']
    ids = CLIPTokenizer()(results['texts'])
    assert ids.shape == (1, 77)
    assert int(ids[0].max()) == 49407  # the end token
