"""What metrics ask of the data samples that they are handed."""

from ..errors import InputError
from ..tasks import RESULT_FIELDS


def check_result(sample: dict, task: str) -> None:
    """Check that a sample has the result of a task.

    Args:
        sample (dict): A ``DetDataSample`` as the evaluator hands it over.
        task (str): One of :data:`~projects.oneformer.tasks.TASKS`.

    Raises:
        ValueError: If it has not.
    """
    if RESULT_FIELDS[task] not in sample:
        raise InputError(
            f'Image {sample.get("img_path")} has no {task} result: add '
            f"'{task}' to test_cfg.tasks of the model, or leave the {task} "
            'metric out of the evaluator.'
        )


def check_truth(sample: dict, key: str) -> None:
    """Check that a sample has the ground truth of a metric.

    Args:
        sample (dict): A ``DetDataSample`` as the evaluator hands it over.
        key (str): Key of the ground truth.

    Raises:
        ValueError: If it has not.
    """
    if key not in sample:
        advice = (
            'put EvalTargets or LoadSemanticTruth into the test pipeline.'
            if key == 'gt_sem_seg'
            else 'put EvalTargets into the test pipeline, and '
            f'{key!r} into the meta_keys of PackDetInputs.'
        )
        raise InputError(
            f'Image {sample.get("img_path")} has no {key!r} to compare '
            f'with: {advice}'
        )


def check_sizes(sample: dict, result: tuple, truth: tuple) -> None:
    """Check that result and ground truth have one size, (height, width).

    Raises:
        ValueError: If they have not.
    """
    if tuple(result) != tuple(truth):
        raise InputError(
            f'The result of image {sample.get("img_path")} is '
            f'{tuple(result)}, its ground truth {tuple(truth)} (height, '
            'width): expected both in the size of the original image. Put '
            'the transforms that load ground truth behind those that resize.'
        )
