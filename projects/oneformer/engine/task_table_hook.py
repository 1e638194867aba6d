"""Print the metrics of the three tasks in one table."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from terminaltables import AsciiTable

# Column, name of the metric in the results, task token it is measured with.
COLUMNS = (
    ('PQ', 'panoptic/PQ', 'panoptic'),
    ('PQ_th', 'panoptic/PQ_th', 'panoptic'),
    ('PQ_st', 'panoptic/PQ_st', 'panoptic'),
    ('AP', 'instance/segm_mAP', 'instance'),
    ('mIoU', 'semantic/mIoU', 'semantic'),
)


@HOOKS.register_module()
class TaskTableHook(Hook):
    """Print PQ, AP and mIoU, each with the task token it was measured with.

    The metrics need the prefixes ``panoptic``, ``instance`` and ``semantic``.
    Metrics that were not measured are left out; an undefined one, such as AP
    without any thing in the ground truth, is a dash.
    """

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Print the table of a validation."""
        self._print(metrics)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Print the table of a test."""
        self._print(metrics)

    def _print(self, metrics: dict[str, float] | None) -> None:
        if metrics and any(key in metrics for _, key, _ in COLUMNS):
            print_log(task_table(metrics), logger='current')


def task_table(metrics: dict[str, float]) -> str:
    """Return the table of some metrics, in percent.

    Args:
        metrics (dict[str, float]): Results of the evaluator, in percent but
            for AP, which mmdet gives as a fraction.
    """
    measured = [column for column in COLUMNS if column[1] in metrics]
    values = [
        metrics[key] * (100 if name == 'AP' else 1)
        for name, key, _ in measured
    ]
    table = AsciiTable(
        [
            ['metric'] + [name for name, _, _ in measured],
            ['task token'] + [task for _, _, task in measured],
            ['value (%)']
            # pycocotools gives -1 for what is undefined.
            + [f'{value:.1f}' if value >= 0 else '-' for value in values],
        ]
    )
    return '\n' + table.table
