"""Draw the task that an image is trained for."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ...tasks import TASKS, check_task


@TRANSFORMS.register_module()
class SampleTask(BaseTransform):
    """Draw one task per image, with the given probabilities.

    A task that the annotation of the image cannot supervise is never drawn;
    the others keep their proportions.

    The draws follow ``np.random``, which ``ReproducibleTrainLoop`` seeds for
    each sample: no two ranks or epochs draw alike.

    Required Keys: ``supervised_tasks`` (optional, all if absent).

    Added Keys: ``task`` (str).

    Args:
        probs (dict[str, float]): Probability of each task; they must add up
            to 1. A task that is left out is never drawn.

    Raises:
        ValueError: If a task is unknown, the numbers are not
            probabilities, or an image can supervise none of the tasks.
    """

    def __init__(self, probs: dict[str, float]) -> None:
        self.tasks = [check_task(task) for task in probs]
        self.probs = [float(prob) for prob in probs.values()]
        total = sum(self.probs)
        if min(self.probs, default=-1) < 0 or not abs(total - 1) <= 1e-6:
            raise ValueError(
                f'Expected probabilities that add up to 1, got {dict(probs)}. '
                'They are not cumulative: give every task its own share.'
            )

    def transform(self, results: dict) -> dict:
        """Add ``task`` to ``results``."""
        supervised = results.get('supervised_tasks', TASKS)
        tasks, probs = [], []
        for task, prob in zip(self.tasks, self.probs, strict=True):
            if prob > 0 and task in supervised:
                tasks.append(task)
                probs.append(prob)
        if not tasks:
            raise ValueError(
                f'The annotation of {results.get("img_path", "an image")} '
                f'supervises {tuple(supervised)}, and none of these has a '
                'probability in SampleTask: change its probs, or leave this '
                'dataset out.'
            )
        draw = np.random.rand() * sum(probs)
        index = int(np.searchsorted(np.cumsum(probs), draw, side='right'))
        results['task'] = tasks[min(index, len(tasks) - 1)]
        return results

    def __repr__(self) -> str:
        probs = dict(zip(self.tasks, self.probs, strict=True))
        return f'{type(self).__name__}(probs={probs})'
