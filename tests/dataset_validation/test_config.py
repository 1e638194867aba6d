"""The sets of a config, compared with its classes and its model."""

from dataclasses import replace
from pathlib import Path

import pytest
from dataset_validation import check_sets, find_sets, sets_of_config

CONFIG = """
model = dict(
    metainfo=dict(classes=('cat', 'dog', 'sky')),
    panoptic_head=dict(num_queries=5),
    train_cfg=dict(text_mapper=dict(num_context=3)),
)
custom_imports = dict(imports=['no.such.module'])
dataset = dict(
    type='OneFormerPanopticDataset',
    data_root={root!r},
    ann_file='annotations/panoptic_train.json',
    data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
    metainfo={metainfo},
)
train_dataloader = dict(
    dataset=dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(type='ConcatDataset', datasets=[dataset, dataset]),
    )
)
val_dataloader = dict(dataset=dict(type='FancyDataset'))
"""


def check_config(tiny, **metainfo):
    path = tiny.folder.parent / 'config.py'
    path.write_text(CONFIG.format(root=str(tiny.folder), metainfo=metainfo))
    sets, remarks = sets_of_config(str(path))
    return check_sets(sets), remarks


def test_a_config_tells_datasets_inside_of_wrappers_and_the_model(tiny):
    report, remarks = check_config(tiny)
    assert len(report.summaries) == 1
    assert [(f.kind, f.id) for f in report.findings] == [
        ('too-many-texts', 1),
        ('too-many-texts', 2),
    ]
    assert 'type FancyDataset cannot be checked' in remarks[0]


def test_a_config_that_contradicts_the_json_is_reported(tiny):
    report, _ = check_config(
        tiny, classes=('dog', 'bird', 'dog'), thing_classes=('elk',)
    )
    found = [(f.kind, f.id) for f in report.findings]
    assert found.count(('metainfo', 'bird')) == 1  # no category
    assert found.count(('metainfo', 'dog')) == 1  # twice
    assert found.count(('metainfo', 'elk')) == 1  # thing, but no class
    assert found.count(('metainfo', None)) == 1  # the model has others
    assert ('isthing-conflict', 5) in found
    left_out = {i for kind, i in found if kind == 'category-left-out'}
    assert left_out == {3, 9}


def test_things_of_the_config_stand_in_for_those_of_the_json(tiny, tmp_path):
    del tiny.categories[2]['isthing']
    tiny.save_json()
    classes = ('cat', 'dog', 'sky')
    report, _ = check_config(
        tiny, classes=classes, thing_classes=('cat', 'dog')
    )
    levels = {f.level for f in report.findings if f.kind == 'isthing-missing'}
    assert levels == {'info'}
    assert report.exit_code() == 0


def test_a_class_name_in_place_of_a_list_is_refused(tiny):
    with pytest.raises(ValueError, match=r"for one class write \['cat'\]"):
        check_config(tiny, classes='cat')


def test_a_config_tells_each_kind_of_its_datasets():
    configs = Path(__file__).parents[2] / 'configs'
    sets, remarks = sets_of_config(
        str(configs / 'oneformer_swin-t_own-mixed.py')
    )
    assert remarks == []
    panoptic, cells, tissue, validation = sets
    assert [aset.kind for aset in sets] == [
        *('panoptic', 'instance', 'semantic', 'panoptic'),
    ]
    assert panoptic.seg_dir == Path('data/mine/annotations/panoptic_train')
    assert panoptic.optional_classes == ('cell', 'tissue')
    assert validation.optional_classes == ()
    assert cells.ann_file == Path('data/cells/instances.json')
    assert cells.seg_dir is None
    assert tissue.image_dir == Path('data/tissue/images')
    assert tissue.seg_dir == Path('data/tissue/labels')
    # Its PNGs know one class, 0, and 255.
    assert (tissue.num_classes, tissue.ignore_index) == (1, 255)
    assert tissue.label_name == ('', '')
    assert {aset.num_queries for aset in sets} == {150, None}

    (train, _), _ = sets_of_config(
        str(configs / 'oneformer_swin-t_own-instance.py')
    )
    # Neither thing may lack, and there is no stuff.
    assert train.optional_classes == ()


def test_classes_that_the_annotation_need_not_know_may_lack(tiny):
    (aset,) = find_sets(tiny.folder)
    classes = ('cat', 'dog', 'sky', 'unicorn')
    lacking = replace(aset, classes=classes)
    kinds = [(f.kind, f.id) for f in check_sets([lacking]).findings]
    assert ('metainfo', 'unicorn') in kinds
    lenient = replace(lacking, optional_classes=('unicorn',))
    kinds = [(f.kind, f.id) for f in check_sets([lenient]).findings]
    assert ('metainfo', 'unicorn') not in kinds


def panoptic_config(tiny, split='train', **options):
    """The set of a config with one dataset, and the kinds of its errors."""
    dataset = dict(
        type='OneFormerPanopticDataset',
        data_root=str(tiny.folder),
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        **options,
    )
    path = tiny.folder.parent / 'config.py'
    loaders = ''.join(
        f'{name}_dataloader = dict(dataset={dataset!r})\n'
        for name in split.split()
    )
    path.write_text(loaders)
    sets, _ = sets_of_config(str(path))
    report = check_sets(sets)
    return {f.kind for f in report.findings if f.level == 'error'}


@pytest.mark.parametrize('split', ['val', 'test', 'train val'])
def test_evaluation_needs_an_annotation_of_every_image(tiny, split):
    assert panoptic_config(tiny, split) == set()
    del tiny.annotations[0]
    tiny.save_json()
    # Training leaves the image out.
    assert panoptic_config(tiny, 'train') == set()
    assert panoptic_config(tiny, split) == {'no-annotation'}


def test_a_filter_that_leaves_no_image_is_an_error(tiny):
    options = dict(filter_cfg=dict(filter_empty_gt=True))
    assert panoptic_config(tiny, **options) == set()
    stuff = dict(classes=('cat', 'dog', 'sky'), thing_classes=())
    assert panoptic_config(tiny, metainfo=stuff, **options) == {'empty-set'}
    # Only training filters.
    assert panoptic_config(tiny, 'val', metainfo=stuff, **options) == set()


def test_things_without_a_list_of_classes_are_compared_with_the_json(tiny):
    meta = dict(thing_classes=('cat', 'elk'))
    assert panoptic_config(tiny, metainfo=meta) == {'metainfo'}


def test_classes_of_which_none_is_known_are_an_error(tiny):
    options = dict(
        metainfo=dict(classes=('elk',), thing_classes=()),
        missing_classes='ignore',
    )
    assert panoptic_config(tiny, **options) == {'metainfo'}


def test_label_maps_need_classes(tiny, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "train_dataloader = dict(dataset=dict(type='OneFormerSemanticDataset'"
        '))'
    )
    with pytest.raises(ValueError, match='needs the classes of its PNGs'):
        sets_of_config(str(path))


def test_a_set_without_categories_is_an_error(tiny):
    tiny.categories.clear()
    tiny.save_json()
    assert 'empty-set' in panoptic_config(tiny)


def test_links_are_followed_as_the_data_sets_follow_them(tiny):
    linked = tiny.folder.parent / 'linked'
    linked.mkdir()
    for name in ('annotations', 'train'):
        (linked / name).symlink_to(tiny.folder / name)
    (aset,) = find_sets(linked)
    assert aset.ann_file == linked / 'annotations/panoptic_train.json'
    assert check_sets([aset]).findings == []


def test_an_override_without_effect_is_refused():
    with pytest.raises(SystemExit, match='did you mean train_dataloader'):
        sets_of_config(
            'configs/oneformer_r18_demo.py',
            {'train_dataloder.dataset.ann_file': 'other.json'},
        )
