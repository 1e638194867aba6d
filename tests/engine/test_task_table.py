"""The table of the three tasks."""

import pytest

from projects.oneformer.engine import TaskTableHook, task_table_hook
from projects.oneformer.engine.task_table_hook import task_table

METRICS = {
    'panoptic/PQ': 57.94,
    'panoptic/PQ_th': 64.36,
    'panoptic/SQ': 83.0,
    'panoptic/PQ_st': 48.0,
    'instance/segm_mAP': 0.489,
    'instance/segm_mAP_50': 0.7,
    'semantic/aAcc': 80.0,
    'semantic/mIoU': 67.4,
}


@pytest.fixture
def printed(monkeypatch) -> list[str]:
    """What the hook prints."""
    texts = []
    monkeypatch.setattr(
        task_table_hook, 'print_log', lambda text, logger: texts.append(text)
    )
    return texts


def cells_of(table: str) -> list[list[str]]:
    rows = [line for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row.split('|')[1:-1]] for row in rows]


def test_the_table_names_the_task_token_of_each_metric():
    assert cells_of(task_table(METRICS)) == [
        ['metric', 'PQ', 'PQ_th', 'PQ_st', 'AP', 'mIoU'],
        [
            *('task token', 'panoptic', 'panoptic', 'panoptic'),
            *('instance', 'semantic'),
        ],
        ['value (%)', '57.9', '64.4', '48.0', '48.9', '67.4'],
    ]


def test_the_table_starts_on_a_line_of_its_own():
    assert task_table(METRICS).startswith('\n+--')


def test_what_was_not_measured_is_left_out():
    cells = cells_of(task_table({'semantic/mIoU': 3.0, 'other/PQ': 1.0}))
    assert cells == [
        ['metric', 'mIoU'],
        ['task token', 'semantic'],
        ['value (%)', '3.0'],
    ]


def test_what_is_undefined_is_a_dash():
    metrics = {
        'panoptic/PQ': 0.0,
        'panoptic/PQ_st': float('nan'),
        'instance/segm_mAP': -1.0,
    }
    assert cells_of(task_table(metrics))[2] == ['value (%)', '0.0', '-', '-']


@pytest.mark.parametrize('when', ['after_val_epoch', 'after_test_epoch'])
def test_the_hook_prints_the_table_after_an_evaluation(printed, when):
    getattr(TaskTableHook(), when)(runner=None, metrics=METRICS)
    assert printed == [task_table(METRICS)]


@pytest.mark.parametrize('metrics', [None, {}, {'coco/bbox_mAP': 0.3}])
def test_without_a_metric_of_the_tasks_nothing_is_printed(printed, metrics):
    TaskTableHook().after_val_epoch(runner=None, metrics=metrics)
    assert printed == []
