"""The three tasks of OneFormer, and what belongs to each in a data sample."""

from collections.abc import Iterable

from .errors import InputError

TASKS = ('panoptic', 'instance', 'semantic')

#: Field of a data sample that holds the result of each task.
RESULT_FIELDS = dict(
    panoptic='pred_panoptic_seg',
    instance='pred_instances',
    semantic='pred_sem_seg',
)

#: Value of ``gt_sem_seg`` at pixels that are not labelled, in training and,
#: with up to 255 classes, in evaluation. mmdet's ``SemSegMetric`` has the same
#: default, and the largest value of uint8 leaves all others to classes.
IGNORE_INDEX = 255


#: The same in sets of which 255 is a class; label maps have 16 bits at most.
DEEP_IGNORE_INDEX = 65535


def ignore_index(num_classes: int) -> int:
    """Return the value of label maps that is no class, in evaluation."""
    fits = num_classes <= IGNORE_INDEX
    return IGNORE_INDEX if fits else DEEP_IGNORE_INDEX


def check_task(task: str) -> str:
    """Return ``task`` if it is one of :data:`TASKS`.

    Raises:
        ValueError: If it is not.
    """
    if task not in TASKS:
        raise InputError(
            f'Unknown task {task!r}: expected one of {", ".join(TASKS)}.'
        )
    return task


def read_tasks(tasks: str | Iterable[str]) -> tuple[str, ...]:
    """Return one task or several as a tuple, each once.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    tasks = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if not tasks:
        raise InputError(
            f'Expected at least one task of {", ".join(TASKS)}, got none: set '
            'test_cfg.tasks of the model, or give tasks to the inferencer.'
        )
    return tuple(dict.fromkeys(check_task(task) for task in tasks))
