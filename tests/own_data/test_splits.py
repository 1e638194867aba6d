"""Names of files and folders say what is trained and tested on."""

from pathlib import Path

import pytest
from dataset_validation import AnnotationSet
from own_data.splits import choose_kind, choose_splits

DATA = Path('/data/mine')


def instances(path: str, images: str = 'images') -> AnnotationSet:
    return AnnotationSet(path, 'instance', DATA / images, ann_file=DATA / path)


@pytest.mark.parametrize(
    'paths',
    [
        ('annotations/instances_train2017.json', 'instances_val.json'),
        ('train/_annotations.coco.json', 'valid/_annotations.coco.json'),
        ('a.json', 'validation.json'),
    ],
)
def test_names_of_files_and_folders_give_the_split(paths):
    train, val = map(instances, paths)
    splits = choose_splits([val, train], DATA)
    assert (splits.train, splits.val, splits.test) == (train, val, None)


def test_a_test_split_is_kept_for_the_end():
    sets = [instances(f'{name}.json') for name in ('test', 'train')]
    splits = choose_splits(sets, DATA)
    assert splits.val is None
    assert splits.test == sets[0]


def test_one_annotation_is_trained_on_whatever_its_name():
    (only,) = sets = [instances('instances_default.json')]
    assert choose_splits(sets, DATA).train == only
    (only,) = sets = [instances('val.json')]
    assert choose_splits(sets, DATA).train == only


def test_the_name_of_the_data_itself_says_nothing():
    folder = Path('/data/train')
    aset = AnnotationSet(
        'x', 'instance', folder, ann_file=folder / 'val' / 'all.json'
    )
    other = AnnotationSet(
        'y', 'instance', folder, ann_file=folder / 'labels' / 'all.json'
    )
    splits = choose_splits([aset, other], folder)
    assert (splits.train, splits.val) == (other, aset)


def test_several_annotations_for_one_split_have_to_be_chosen_from():
    sets = [instances('a/train.json'), instances('b/train.json')]
    with pytest.raises(ValueError) as caught:
        choose_splits(sets, DATA)
    assert 'a/train.json, b/train.json. Name the one as --train.' in (
        str(caught.value)
    )
    assert choose_splits(sets, DATA, train='b/train.json').train == sets[1]
    with pytest.raises(ValueError, match="got 'train.json', which 2 of them"):
        choose_splits(sets, DATA, train='train.json')


def test_data_without_a_set_to_train_on_is_refused():
    sets = [instances('val.json'), instances('test.json')]
    with pytest.raises(ValueError, match='none to train on is called train'):
        choose_splits(sets, DATA)


def test_the_annotation_that_supervises_most_is_used():
    sets = [
        instances('train.json'),
        AnnotationSet('p', 'panoptic', DATA, ann_file=DATA / 'p.json'),
    ]
    assert choose_kind(sets, DATA, None) == 'panoptic'
    assert choose_kind(sets, DATA, 'instance') == 'instance'
    only_to_test = AnnotationSet(
        'v', 'panoptic', DATA, ann_file=DATA / 'val.json'
    )
    assert choose_kind([sets[0], only_to_test], DATA, None) == 'instance'
    with pytest.raises(ValueError, match="got 'semantic'"):
        choose_kind(sets, DATA, 'semantic')
