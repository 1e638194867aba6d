"""What is looked at before the first step."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATASETS, HOOKS
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

from projects.oneformer.engine import PreflightHook, preflight_hook
from projects.oneformer.engine.preflight_hook import (
    parts_of,
    trained_tasks,
    unwrap,
)
from projects.oneformer.models import OneFormer
from projects.oneformer.tasks import TASKS

META = dict(classes=('cat', 'dog', 'sky'), thing_classes=('cat', 'dog'))
SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]
SAMPLE_TASK = dict(
    type='SampleTask', probs=dict(panoptic=0.5, semantic=0.3, instance=0.2)
)


@pytest.fixture(autouse=True)
def scope():
    """Names of transforms are looked up in the registries of mmdet."""
    init_default_scope('mmdet')


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What the hook warns of."""
    logged = []
    monkeypatch.setattr(
        preflight_hook,
        'print_log',
        lambda text, logger, level: logged.append(text),
    )
    return logged


@pytest.fixture
def make(tmp_path):
    """A function that makes a dataset, with so many objects an image.

    The last of an image is a dog, if it has several, the others are cats.
    """

    def make_dataset(*counts: int, metainfo=META, pipeline=(), crowds=0):
        content = dict(
            images=[
                dict(id=i, file_name=f'{i}.jpg', height=6, width=8)
                for i in range(len(counts))
            ],
            annotations=[
                dict(
                    image_id=i,
                    category_id=1 + (j == count - 1 > 0),
                    segmentation=SQUARE,
                    iscrowd=int(j < crowds),
                )
                for i, count in enumerate(counts)
                for j in range(count)
            ],
            categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        )
        (tmp_path / 'objects.json').write_text(json.dumps(content))
        return DATASETS.build(
            dict(
                type='OneFormerInstanceDataset',
                data_root=str(tmp_path),
                ann_file='objects.json',
                metainfo=metainfo,
                pipeline=list(pipeline),
            )
        )

    return make_dataset


@pytest.fixture
def make_maps(tmp_path):
    """A function that makes a dataset of label maps, each of one value."""

    def make_dataset(*values: int):
        for i, value in enumerate(values):
            for folder, end in (('images', 'jpg'), ('maps', 'png')):
                path = tmp_path / f'{folder}{values}' / f'{i}.{end}'
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(np.full((6, 8), value, np.uint8)).save(path)
        return DATASETS.build(
            dict(
                type='OneFormerSemanticDataset',
                data_root=str(tmp_path),
                data_prefix=dict(img=f'images{values}', seg=f'maps{values}'),
                metainfo=META,
                pipeline=[],
            )
        )

    return make_dataset


@pytest.fixture
def make_panoptic(tmp_path):
    """A function that makes a panoptic dataset of one image."""

    def make_dataset(pipeline=()):
        content = dict(
            images=[dict(id=1, file_name='a.jpg', height=6, width=8)],
            annotations=[
                dict(image_id=1, file_name='a.png', segments_info=[])
            ],
            categories=[
                dict(id=i, name=name, isthing=int(name != 'sky'))
                for i, name in enumerate(META['classes'])
            ],
        )
        (tmp_path / 'panoptic.json').write_text(json.dumps(content))
        return DATASETS.build(
            dict(
                type='OneFormerPanopticDataset',
                data_root=str(tmp_path),
                ann_file='panoptic.json',
                metainfo=META,
                pipeline=list(pipeline),
            )
        )

    return make_dataset


class FakeModel(OneFormer):
    """What the hook asks of a model, without its weights."""

    def __init__(self, classes=META['classes'], queries=6, texts=4) -> None:
        nn.Module.__init__(self)
        self.class_names = classes
        self.tasks = TASKS
        self.trained_tasks = TASKS
        self.panoptic_head = SimpleNamespace(
            query_embed=nn.Embedding(queries, 1),
            text_mapper=SimpleNamespace(num_texts=texts),
        )


def metric(prefix: str, **options) -> SimpleNamespace:
    return SimpleNamespace(prefix=prefix, **options)


def runner_of(model=None, train=None, val=None, metrics=()):
    """What the hook asks of a runner."""

    def loop(dataset):
        return (
            None
            if dataset is None
            else SimpleNamespace(
                dataloader=SimpleNamespace(dataset=dataset),
                evaluator=SimpleNamespace(metrics=metrics),
            )
        )

    return SimpleNamespace(
        model=model or FakeModel(),
        _train_loop=loop(train),
        _val_loop=loop(val),
        _test_loop=dict(type='TestLoop'),  # not built
        train_dataloader=SimpleNamespace(dataset=train),
    )


def refused(**options) -> str:
    with pytest.raises(ValueError) as caught:
        PreflightHook().before_run(runner_of(**options))
    return str(caught.value)


def test_every_recipe_has_the_hook():
    assert HOOKS.get('PreflightHook') is PreflightHook
    assert PreflightHook.priority == 'VERY_HIGH'


def test_a_run_without_contradictions_is_silent(make, warnings):
    dataset = make(1, 2)
    runner = runner_of(
        train=dataset, val=dataset, metrics=[metric('instance')]
    )
    PreflightHook().before_run(runner)
    assert warnings == []


# ------------------------------------------------------------------ classes


@pytest.mark.parametrize('split', ['train', 'val'])
def test_another_order_of_the_classes_is_refused(make, split):
    model = FakeModel(('dog', 'cat', 'sky'))
    message = refused(model=model, **{split: make(1)})
    assert f'The classes of {split}_dataloader are not those of' in message
    assert 'the order differs' in message
    assert f'{split}_dataloader = dict(dataset=dict(metainfo=' in message


def test_other_classes_are_named(make):
    message = refused(model=FakeModel(('cat', 'cow')), train=make(1))
    assert 'the model has 2 and the dataset 3' in message
    assert "only the model has ['cow']" in message
    assert "only the dataset ['dog', 'sky']" in message


def test_every_part_of_a_dataset_is_looked_at(make):
    right = make(1)
    wrong = make(1, metainfo=dict(classes=('cat', 'dog')))
    joined = ConcatDataset.__new__(ConcatDataset)
    joined.datasets = [right, RepeatDataset(wrong, 2)]
    assert parts_of(joined) == [right, wrong]
    assert 'the dataset 2' in refused(train=joined)


def test_datasets_of_others_are_none_of_its_business():
    dataset = [dict(img=1)]
    PreflightHook().before_run(runner_of(train=dataset))
    assert parts_of(dataset) == []
    assert parts_of(None) == []


def test_models_are_found_inside_of_wrappers():
    model = FakeModel()
    wrapper, outer = nn.Module(), nn.Module()
    wrapper.module, outer.module = model, wrapper
    assert unwrap(outer) is model
    assert unwrap(nn.Linear(1, 1)) is None


def test_other_models_are_none_of_its_business(make):
    runner = runner_of(model=nn.Linear(1, 1), train=make(1))
    PreflightHook().before_run(runner)


# -------------------------------------------------------------------- tasks


def test_data_of_no_drawn_task_is_refused(make):
    step = dict(
        type='SampleTask', probs=dict(panoptic=0.5, semantic=0.5, instance=0)
    )
    message = refused(train=make(1, pipeline=[step]))
    assert "objects.json supervises ('instance',)" in message
    assert 'change its probs, or leave this dataset out' in message


def test_the_tasks_of_all_parts_are_trained(make, make_panoptic):
    only_semantic = dict(type='SampleTask', probs=dict(semantic=1.0))
    instances = make(1, pipeline=[SAMPLE_TASK])
    semantic = make_panoptic([only_semantic])
    assert trained_tasks(instances) == ('instance',)
    assert trained_tasks(semantic) == ('semantic',)
    assert trained_tasks(make_panoptic([SAMPLE_TASK])) == TASKS
    joined = ConcatDataset.__new__(ConcatDataset)
    joined.datasets = [semantic, instances]
    assert trained_tasks(joined) == ('instance', 'semantic')


def test_the_trained_tasks_are_kept_in_checkpoints(make):
    runner = runner_of(train=make(1, pipeline=[SAMPLE_TASK]))
    hook, checkpoint = PreflightHook(), dict(meta=dict(iter=3))
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint['meta'] == dict(iter=3, tasks=['instance'])
    assert runner.model.trained_tasks == ('instance',)


def test_nothing_is_said_of_the_tasks_of_unknown_data():
    runner = runner_of(train=[1])
    hook, checkpoint = PreflightHook(), dict(meta={})
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint['meta'] == {}
    assert runner.model.trained_tasks == TASKS


# ------------------------------------------------------------------ metrics


@pytest.mark.parametrize('task', ['panoptic', 'semantic'])
def test_a_metric_without_ground_truth_is_refused(make, task):
    message = refused(val=make(1), metrics=[metric(task)])
    assert f'of val_evaluator needs ground truth of the {task} task' in message
    assert 'objects.json is instance annotation: remove the metric' in message


@pytest.mark.parametrize(
    'options', [dict(format_only=True), dict(ann_file='truth.json')]
)
def test_a_metric_may_bring_its_ground_truth_or_need_none(make, options):
    runner = runner_of(val=make(1), metrics=[metric('panoptic', **options)])
    PreflightHook().before_run(runner)


def test_a_metric_of_a_task_that_is_not_asked_is_refused(make):
    model = FakeModel()
    model.tasks = ('semantic',)
    message = refused(model=model, val=make(1), metrics=[metric('instance')])
    assert 'measures the instance task, which the model does not' in message
    assert "add 'instance' to model.test_cfg.tasks, which is ['semantic']" in (
        message
    )


def test_metrics_of_other_names_are_not_checked(make):
    runner = runner_of(val=make(1), metrics=[metric('coco'), metric(None)])
    PreflightHook().before_run(runner)


# ----------------------------------------------------------------- warnings


def test_images_with_more_objects_than_queries_are_counted(make, warnings):
    runner = runner_of(train=make(7, 2, 9, 6))
    PreflightHook().before_run(runner)
    queries, texts = warnings
    assert queries.startswith(
        '2 of 4 training images have more objects than the 6 queries'
    )
    assert 'the most are 9 in' in queries and '2.jpg' in queries
    assert 'cannot all be matched' in queries
    assert texts.startswith('3 of 4 training images')
    assert '4 text slots' in texts and 'do not all get a text' in texts
    assert 'Raise model.panoptic_head.num_queries' in texts


def test_crowds_are_no_objects(make, warnings):
    PreflightHook().before_run(runner_of(train=make(6, crowds=2)))
    assert warnings == []


def test_validation_images_may_be_crowded(make, warnings):
    PreflightHook().before_run(runner_of(val=make(30)))
    assert warnings == []


LONG = ' '.join(['wall'] * 90)


def test_texts_that_are_cut_are_counted(make, warnings):
    meta = dict(classes=('cat', LONG, 'dog'), thing_classes=('cat', 'dog'))
    dataset = make(2, metainfo=meta, pipeline=[dict(type='TaskTexts')])
    model = FakeModel(meta['classes'])
    PreflightHook().before_run(runner_of(model=model, train=dataset))
    (warning,) = warnings
    assert warning.startswith('The texts of 1 classes make more than 75 tok')
    assert 'wall wall' in warning
    assert 'TaskTexts(names=...)' in warning


def test_a_shorter_name_for_the_text_mends_it(make, warnings):
    meta = dict(classes=('cat', LONG, 'dog'), thing_classes=('cat', 'dog'))
    step = dict(type='TaskTexts', names={LONG: 'wall'})
    dataset = make(2, metainfo=meta, pipeline=[step])
    model = FakeModel(meta['classes'])
    PreflightHook().before_run(runner_of(model=model, train=dataset))
    assert warnings == []


def test_a_long_template_counts_too(make, warnings):
    step = dict(type='TaskTexts', class_template=f'{LONG} {{}}')
    PreflightHook().before_run(runner_of(train=make(1, pipeline=[step])))
    assert warnings[0].startswith('The texts of 3 classes')


def test_classes_without_a_segment_are_named(make, warnings):
    preflight_hook.warn_of_missing_classes([make(1, 1)])
    # The sky is stuff, and no matter to objects.
    (warning,) = warnings
    assert '1 of 3 classes have no segment in the training data' in warning
    assert "['dog']" in warning


def test_a_class_may_be_in_one_of_several_sets(make, make_maps, warnings):
    maps = make_maps(1, 2, 255)
    preflight_hook.warn_of_missing_classes([make(1), maps])
    assert warnings == []
    preflight_hook.warn_of_missing_classes([make(1)])
    assert len(warnings) == 1


def test_crowds_do_not_count_as_segments(make, warnings):
    preflight_hook.warn_of_missing_classes([make(1, crowds=1)])
    assert "['cat', 'dog']" in warnings[0]


def test_maps_of_one_class_and_ignored_pixels_are_named(make_maps, warnings):
    preflight_hook.warn_of_missing_classes([make_maps(0, 255)])
    first, second = warnings
    assert "have the class 'cat' and ignored pixels alone" in first
    assert '2 of 3 classes have no segment' in second
    warnings.clear()
    preflight_hook.warn_of_missing_classes([make_maps(0, 1, 2, 255)])
    assert warnings == []


def test_of_many_maps_some_are_read(make_maps, warnings, monkeypatch):
    monkeypatch.setattr(preflight_hook, '_MAX_MAPS', 2)
    preflight_hook.warn_of_missing_classes([make_maps(0, 1, 2)])
    (warning,) = warnings
    assert '2 label maps were read), so that' in warning
    assert "['dog']" in warning


def test_a_thing_with_one_segment_in_each_image_may_be_stuff(make, warnings):
    preflight_hook.warn_of_single_things(make(*[1] * 19))
    preflight_hook.warn_of_single_things(make(*[1] * 30, 3))
    assert warnings == []
    preflight_hook.warn_of_single_things(make(*[1] * 20, 0))
    assert "The things ['cat'] of" in warnings[0]
