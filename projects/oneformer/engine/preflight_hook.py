"""Check that model and data fit each other before the first step."""

import logging
from collections.abc import Iterable
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..datasets.segments_dataset import SegmentsDataset
from ..datasets.transforms.load_segments import LoadSemanticSegments
from ..datasets.transforms.sample_task import SampleTask
from ..datasets.transforms.task_texts import TaskTexts
from ..errors import InputError
from ..metainfo import always_single
from ..models import OneFormer
from ..tasks import TASKS
from ..text import CLIPTokenizer

_MAX_NAMED = 5  # examples in a message
_MAX_MAPS = 100  # label maps of a set to read


@HOOKS.register_module()
class PreflightHook(Hook):
    """Compare model and data, and save the trained tasks in checkpoints.

    Before a run it raises an error for

    - classes of a dataset that are not those of the model, in names or order,
    - a training set that supervises none of the sampled tasks,
    - a metric whose task is not among those of the model, or whose ground
      truth the annotation does not have;

    and warns, with counts, of

    - images with more objects than queries: the worst matches are dropped,
    - images with more objects than text slots: the last texts, in the order
      of the classes, are dropped,
    - class names of more than 77 tokens, which are truncated,
    - classes without a segment in the training data,
    - label maps that hold a single class and ignored pixels only,
    - things with one segment in each of many images, which is typical of
      stuff.

    For this, 100 label maps of each training set are read.

    Raises:
        ValueError: For the errors above.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.tasks: tuple[str, ...] = ()

    def before_run(self, runner: Runner) -> None:
        """Check every dataset of the run."""
        model = unwrap(runner.model)
        if model is None:
            return
        for name in ('train', 'val', 'test'):
            # Only those in use are built.
            loop: Any = getattr(runner, f'_{name}_loop', None)
            dataset = getattr(
                getattr(loop, 'dataloader', None), 'dataset', None
            )
            for part in parts_of(dataset):
                check_classes(part, model.class_names, f'{name}_dataloader')
                if name == 'train':
                    check_tasks(part)
                    warn_of_crowded_images(part, model)
                    warn_of_long_texts(part)
                    warn_of_single_things(part)
                else:
                    metrics = loop.evaluator.metrics
                    check_metrics(part, metrics, model.tasks, name)
            if name == 'train':
                warn_of_missing_classes(parts_of(dataset))

    def before_train(self, runner: Runner) -> None:
        """Record the tasks that the data supervises."""
        self.tasks = trained_tasks(runner.train_dataloader.dataset)
        model = unwrap(runner.model)
        if self.tasks and model is not None:
            model.trained_tasks = self.tasks

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the trained tasks in the checkpoint."""
        if self.tasks:
            checkpoint['meta']['tasks'] = list(self.tasks)


def unwrap(model: Any) -> OneFormer | None:
    """Return the OneFormer inside of wrappers, None if there is none."""
    while not isinstance(model, OneFormer):
        if not hasattr(model, 'module'):
            return None
        model = model.module
    return model


def parts_of(dataset) -> list[SegmentsDataset]:
    """Return the datasets of this package inside of wrappers."""
    if isinstance(dataset, SegmentsDataset):
        return [dataset]
    inner = getattr(dataset, 'datasets', None) or [
        getattr(dataset, 'dataset', None)
    ]
    return [
        part
        for inside in inner
        if inside is not None
        for part in parts_of(inside)
    ]


def steps_of(dataset: SegmentsDataset, kind: type) -> list:
    """Return the transforms of one kind in the pipeline of a dataset."""
    steps = dataset.pipeline.transforms
    return [step for step in steps if isinstance(step, kind)]


def drawn_tasks(dataset: SegmentsDataset) -> set[str]:
    """Return the tasks that samples of a training set are drawn for."""
    drawn = set(dataset.tasks)
    for step in steps_of(dataset, SampleTask):
        probs = dict(zip(step.tasks, step.probs, strict=True))
        drawn &= {task for task, prob in probs.items() if prob > 0}
    return drawn


def trained_tasks(dataset) -> tuple[str, ...]:
    """Return the tasks that a training dataset has samples of.

    It is empty for datasets of other packages.
    """
    drawn = [drawn_tasks(part) for part in parts_of(dataset)]
    tasks = set().union(*drawn)
    return tuple(task for task in TASKS if task in tasks)


def check_tasks(dataset: SegmentsDataset) -> None:
    """Raise an error for a training set without any task to draw."""
    if not drawn_tasks(dataset):
        raise InputError(
            f'The annotation {dataset.source} supervises {dataset.tasks}, and '
            'none of these has a probability in SampleTask: change its probs, '
            'or leave this dataset out.'
        )


def check_classes(
    dataset: SegmentsDataset, expected: tuple[str, ...], where: str
) -> None:
    """Raise an error if the classes are not those of the model."""
    found = tuple(dataset.metainfo['classes'])
    if found == tuple(expected):
        return
    lacking = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if lacking or extra:
        differ = (
            f'the model has {len(expected)} and the dataset {len(found)}; '
            f'only the model has {lacking[:_MAX_NAMED]}, only the dataset '
            f'{extra[:_MAX_NAMED]}'
        )
    else:
        differ = f'the order differs: {expected[:3]} and {found[:3]} first'
    raise InputError(
        f'The classes of {where} are not those of the model: {differ}. Give '
        'both the same metainfo: metainfo = dict(classes=..., '
        'thing_classes=...), then model = dict(metainfo=metainfo) and '
        f'{where} = dict(dataset=dict(metainfo=metainfo)).'
    )


def check_metrics(
    dataset: SegmentsDataset,
    metrics: Iterable,
    tasks: tuple[str, ...],
    split: str,
) -> None:
    """Raise an error for a metric without result or without ground truth.

    Args:
        dataset (SegmentsDataset): Of the metrics.
        metrics (Iterable): Metrics; their prefix is their task.
        tasks (tuple[str, ...]): Tasks of the model.
        split (str): ``val`` or ``test``.
    """
    for metric in metrics:
        task = metric.prefix
        if task not in TASKS:
            continue
        name = f'{type(metric).__name__} of {split}_evaluator'
        if task not in tasks:
            raise InputError(
                f'{name} measures the {task} task, which the model does not '
                f"solve: add '{task}' to model.test_cfg.tasks, which is "
                f'{list(tasks)}, or remove the metric.'
            )
        has_own_truth = getattr(metric, 'format_only', False) or getattr(
            metric, 'ann_file', None
        )
        if task not in dataset.tasks and not has_own_truth:
            raise InputError(
                f'{name} needs ground truth of the {task} task, but '
                f'{dataset.source} is {dataset.annotation} annotation: '
                f'remove the metric, e. g. {split}_evaluator = [metric for '
                f'metric in _base_.{split}_evaluator if metric["prefix"] in '
                f'{list(dataset.tasks)}].'
            )


def warn_of_crowded_images(dataset: SegmentsDataset, model: OneFormer) -> None:
    """Warn of images with more objects than queries or text slots."""
    head = model.panoptic_head
    slots = [
        ('queries', head.query_embed.num_embeddings, 'cannot all be matched')
    ]
    if head.text_mapper is not None:
        slots.append(
            ('text slots', head.text_mapper.num_texts, 'do not all get a text')
        )
    counts = [
        sum(not own['iscrowd'] for own in dataset.segments_of(i))
        for i in range(len(dataset))
    ]
    most = max(counts, default=0)
    for name, number, consequence in slots:
        crowded = sum(count > number for count in counts)
        if crowded:
            example = dataset.get_data_info(counts.index(most))['img_path']
            print_log(
                f'{crowded} of {len(counts)} training images have more '
                f'objects than the {number} {name} of the model, the most are '
                f'{most} in {example}: they {consequence}. Raise '
                'model.panoptic_head.num_queries if that matters.',
                logger='current',
                level=logging.WARNING,
            )


def warn_of_long_texts(dataset: SegmentsDataset) -> None:
    """Warn of class names whose text is truncated."""
    tokenizer = CLIPTokenizer()
    room = tokenizer.context_length - 2  # beside the start and the end
    for step in steps_of(dataset, TaskTexts):
        long = [
            name
            for name in dataset.metainfo['classes']
            if len(tokenizer.encode(step.text_of(name))) > room
        ]
        if long:
            print_log(
                f'The texts of {len(long)} classes make more than {room} '
                f'tokens and are truncated, the first is {long[0]!r}. Give '
                'shorter ones as TaskTexts(names=...).',
                logger='current',
                level=logging.WARNING,
            )


def warn_of_single_things(dataset: SegmentsDataset) -> None:
    """Warn of things that the annotation draws as it draws stuff."""
    classes = dataset.metainfo['classes']
    single = always_single(
        [
            classes[own['category']]
            for own in dataset.segments_of(i)
            if own['is_thing'] and not own['iscrowd']
        ]
        for i in range(len(dataset))
    )
    if single:
        print_log(
            f'The things {single} of {dataset.source} have one segment in '
            'each of their images, as stuff has. If they are stuff, leave '
            'them out of thing_classes of metainfo.',
            logger='current',
            level=logging.WARNING,
        )


def warn_of_missing_classes(parts: list[SegmentsDataset]) -> None:
    """Warn of classes that none of the training sets has a segment of."""
    if not parts:
        return
    present: set[int] = set()
    notes = []
    for part in parts:
        labels, note = labels_in(part)
        present |= labels
        notes += [note] if note else []
    classes = parts[0].metainfo['classes']
    things = parts[0].metainfo['thing_classes']
    knows_stuff = any(part.tasks != ('instance',) for part in parts)
    lacking = [
        name
        for label, name in enumerate(classes)
        if label not in present and (knows_stuff or name in things)
    ]
    if lacking:
        print_log(
            f'{len(lacking)} of {len(classes)} classes have no segment in the '
            f'training data{"".join(notes)}, so that they are not learned: '
            f'{lacking[:_MAX_NAMED]}. Check the annotation, or take them out '
            'of metainfo.',
            logger='current',
            level=logging.WARNING,
        )


def labels_in(dataset: SegmentsDataset) -> tuple[set[int], str]:
    """Return the labels in a training set, and a note if not all is read."""
    if dataset.annotation != 'semantic':
        return {
            own['category']
            for i in range(len(dataset))
            for own in dataset.segments_of(i)
            if not own['iscrowd']
        }, ''
    load = LoadSemanticSegments(dataset.backend_args)
    step = -(-len(dataset) // _MAX_MAPS)
    places = range(0, len(dataset), step)
    labels: set[int] = set()
    has_void = False
    for i in places:
        try:
            results = load.transform(dataset.get_data_info(i))
        except (OSError, ValueError):
            continue  # training names it, or skips it if so configured
        labels |= {own['category'] for own in results['segments_info']}
        has_void |= not results['gt_seg_map'].any(-1).all()
    warn_of_ignored_foreground(dataset, labels, has_void)
    note = f' (of {dataset.source} {len(places)} label maps were read)'
    return labels, note if step > 1 else ''


def warn_of_ignored_foreground(
    dataset: SegmentsDataset, labels: set[int], has_void: bool
) -> None:
    """Warn of label maps with one class, and pixels that are ignored."""
    classes = dataset.metainfo['classes']
    if has_void and len(labels) == 1 and len(classes) > 1:
        print_log(
            f'The label maps of {dataset.source} have the class '
            f'{classes[min(labels)]!r} and ignored pixels alone, so that the '
            'model sees one class. If the ignored value stands for a class, '
            'write the number of the class in its place.',
            logger='current',
            level=logging.WARNING,
        )
