"""Look for contradictions between model and data before the first step."""

import logging

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..datasets.segments_dataset import SegmentsDataset
from ..tasks import TASKS
from ..text import CLIPTokenizer, class_text

_MAX_NAMED = 5  # examples in a message


@HOOKS.register_module()
class PreflightHook(Hook):
    """Compare model and data, and keep the trained tasks in checkpoints.

    Before a run it refuses classes of a dataset that are not those of the
    model, in names or order, and warns, with counts, of

    - pictures with more objects than queries, of which some cannot be
      matched: those that fit worst are left out,
    - pictures with more objects than text slots: in the order of the classes
      the last texts are left out,
    - class names that make more than 77 tokens, which are cut.

    Raises:
        ValueError: If the classes differ.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Check every dataset of the run."""
        model = unwrap(runner.model)
        for name in ('train', 'val', 'test'):
            # Only those in use are built.
            loop = getattr(runner, f'_{name}_loop', None)
            dataset = getattr(
                getattr(loop, 'dataloader', None), 'dataset', None
            )
            for part in parts_of(dataset):
                check_classes(part, model.class_names, f'{name}_dataloader')
                if name == 'train':
                    warn_of_crowded_pictures(part, model)
        warn_of_long_names(model.class_names)

    def before_train(self, runner: Runner) -> None:
        """Note the tasks that the data supervises."""
        self.tasks = trained_tasks(runner.train_dataloader.dataset)
        unwrap(runner.model).trained_tasks = self.tasks

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the trained tasks in the checkpoint."""
        checkpoint['meta']['tasks'] = list(self.tasks)


def unwrap(model):
    """Return the model inside of a wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model


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


def trained_tasks(dataset) -> tuple[str, ...]:
    """Return the tasks that a training dataset has samples of."""
    tasks: set[str] = set()
    for part in parts_of(dataset):
        drawn: set[str] = set(TASKS)
        for step in part.pipeline.transforms:
            if type(step).__name__ == 'SampleTask':
                drawn = {
                    task
                    for task, prob in zip(step.tasks, step.probs, strict=True)
                    if prob > 0
                }
        tasks |= drawn & set(part.tasks)
    return tuple(task for task in TASKS if task in tasks)


def check_classes(
    dataset: SegmentsDataset, expected: tuple[str, ...], where: str
) -> None:
    """Refuse a dataset whose classes are not those of the model."""
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
    raise ValueError(
        f'The classes of {where} are not those of the model: {differ}. Give '
        'both the same metainfo: metainfo = dict(classes=..., '
        'thing_classes=...), then model = dict(metainfo=metainfo) and '
        f'{where} = dict(dataset=dict(metainfo=metainfo)).'
    )


def warn_of_crowded_pictures(dataset: SegmentsDataset, model) -> None:
    """Warn of pictures with more objects than the model can tell."""
    head = model.panoptic_head
    slots = (
        ('queries', len(head.query_embed.weight), 'cannot all be matched'),
        ('text slots', head.text_mapper.num_texts, 'do not all get a text'),
    )
    counts = [
        len(dataset.get_data_info(i)['segments_info'])
        for i in range(len(dataset))
    ]
    most = max(counts, default=0)
    for name, number, consequence in slots:
        crowded = [i for i, count in enumerate(counts) if count > number]
        if crowded:
            example = dataset.get_data_info(counts.index(most))['img_path']
            print_log(
                f'{len(crowded)} of {len(counts)} training pictures have more '
                f'objects than the {number} {name} of the model, the most are '
                f'{most} in {example}: they {consequence}. Raise '
                'model.panoptic_head.num_queries if that matters.',
                logger='current',
                level=logging.WARNING,
            )


def warn_of_long_names(classes: tuple[str, ...]) -> None:
    """Warn of class names whose text is cut."""
    tokenizer = CLIPTokenizer()
    room = tokenizer.context_length - 2
    long = [
        name
        for name in classes
        if len(tokenizer.encode(class_text(name))) > room
    ]
    if long:
        print_log(
            f'{len(long)} class names make more than {room} tokens and are '
            f'cut, the first is {long[0]!r}. Shorter ones may be given to '
            'TaskTexts(names=...).',
            logger='current',
            level=logging.WARNING,
        )
