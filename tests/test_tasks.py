"""Which tasks are asked for."""

import pytest

from projects.oneformer.tasks import read_tasks


def test_one_task_or_several_become_a_tuple_of_each_once():
    assert read_tasks('semantic') == ('semantic',)
    assert read_tasks(iter(['instance', 'panoptic', 'instance'])) == (
        'instance',
        'panoptic',
    )


@pytest.mark.parametrize('tasks', [[], 'boxes', ['panoptic', 'boxes']])
def test_no_task_and_unknown_ones_are_refused(tasks):
    with pytest.raises(ValueError, match='xpected'):
        read_tasks(tasks)
