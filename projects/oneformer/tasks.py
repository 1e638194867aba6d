"""The three tasks of OneFormer, by the names used everywhere."""

TASKS = ('panoptic', 'instance', 'semantic')


def check_task(task: str) -> str:
    """Return ``task`` if it is one of :data:`TASKS`.

    Raises:
        ValueError: If it is not.
    """
    if task not in TASKS:
        raise ValueError(
            f'Unknown task {task!r}: expected one of {", ".join(TASKS)}.'
        )
    return task
