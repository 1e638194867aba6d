"""Drawing tasks: how often, and the same again for one seed."""

import numpy as np
import pytest
from scipy.stats import chisquare

from projects.oneformer.datasets import SampleTask

SAME = dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3)


@pytest.mark.parametrize(
    'probs',
    [
        SAME,
        dict(panoptic=0.7, semantic=0.1, instance=0.2),
        dict(semantic=0.5, panoptic=0.5),
    ],
)
def test_tasks_are_drawn_with_their_probabilities(probs):
    sample_task = SampleTask(probs)
    draws = [sample_task({})['task'] for _ in range(6000)]
    assert set(draws) == set(probs)
    counts = [draws.count(task) for task in probs]
    expected = [6000 * prob for prob in probs.values()]
    assert chisquare(counts, expected).pvalue > 0.01


def test_cumulative_bounds_would_be_told_from_probabilities():
    # The test above can fail: this is what it would see of cumulative ones.
    draws = [SampleTask(SAME)({})['task'] for _ in range(6000)]
    counts = [draws.count(task) for task in SAME]
    assert chisquare(counts, [2000 * 0.66, 2000 * 1.32, 2040]).pvalue < 1e-6


def test_one_task_may_be_the_only_one():
    sample_task = SampleTask(dict(instance=1))
    assert {sample_task({})['task'] for _ in range(50)} == {'instance'}


def test_a_task_of_probability_0_is_never_drawn():
    sample_task = SampleTask(dict(instance=0, semantic=1.0, panoptic=0))
    assert {sample_task({})['task'] for _ in range(50)} == {'semantic'}


@pytest.mark.parametrize(
    ('draw', 'task'),
    [
        (0.0, 'semantic'),
        (0.2499, 'semantic'),
        (0.25, 'panoptic'),
        (0.9999, 'panoptic'),
    ],
)
def test_each_task_has_its_share_of_the_draws(monkeypatch, draw, task):
    monkeypatch.setattr(np.random, 'rand', lambda: draw)
    sample_task = SampleTask(dict(instance=0, semantic=0.25, panoptic=0.75))
    assert sample_task({})['task'] == task


def test_what_else_is_known_of_the_image_stays():
    results = SampleTask(dict(panoptic=1.0))(dict(img_id=3))
    assert results == dict(img_id=3, task='panoptic')
    assert type(results['task']) is str


@pytest.mark.parametrize(
    'probs',
    [
        {},
        dict(semantic=0.33, instance=0.66, panoptic=1.0),
        dict(semantic=0.5, panoptic=0.4),
        dict(semantic=1.5, panoptic=-0.5),
        dict(semantic=float('nan'), panoptic=0.5),
    ],
)
def test_numbers_that_are_no_probabilities_are_refused(probs):
    with pytest.raises(ValueError) as caught:
        SampleTask(probs)
    assert 'Expected probabilities that add up to 1' in str(caught.value)
    assert f'got {probs}' in str(caught.value)
    assert 'not cumulative' in str(caught.value)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="Unknown task 'depth': expected one"):
        SampleTask(dict(panoptic=0.5, depth=0.5))


def test_thirds_written_with_few_digits_are_refused():
    with pytest.raises(ValueError, match='add up to 1'):
        SampleTask(dict(semantic=0.33, instance=0.33, panoptic=0.33))


def test_draws_follow_the_seed_of_numpy():
    sample_task = SampleTask(SAME)
    np.random.seed(5)
    first = [sample_task({})['task'] for _ in range(30)]
    second = [sample_task({})['task'] for _ in range(30)]
    np.random.seed(5)
    assert [sample_task({})['task'] for _ in range(30)] == first
    assert first != second


def supervised(*tasks: str) -> dict:
    return dict(supervised_tasks=tasks, img_path='a.jpg')


@pytest.mark.parametrize('task', SAME)
def test_no_task_is_drawn_that_the_annotation_cannot_supervise(task):
    sample_task = SampleTask(SAME)
    draws = {sample_task(supervised(task))['task'] for _ in range(50)}
    assert draws == {task}


def test_the_tasks_that_are_left_keep_their_proportions():
    sample_task = SampleTask(dict(panoptic=0.5, semantic=0.3, instance=0.2))
    results = supervised('instance', 'semantic')
    draws = [sample_task(dict(results))['task'] for _ in range(6000)]
    counts = [draws.count(task) for task in ('semantic', 'instance')]
    assert chisquare(counts, [3600, 2400]).pvalue > 0.01


def test_the_draw_of_a_whole_annotation_is_what_it_was_without_the_key():
    sample_task = SampleTask(SAME)
    np.random.seed(5)
    first = [sample_task({})['task'] for _ in range(50)]
    np.random.seed(5)
    every = supervised('panoptic', 'instance', 'semantic')
    assert [sample_task(dict(every))['task'] for _ in range(50)] == first


def test_an_annotation_of_no_drawn_task_is_refused():
    sample_task = SampleTask(dict(panoptic=0.5, semantic=0.5, instance=0))
    with pytest.raises(ValueError) as caught:
        sample_task(supervised('instance'))
    assert "a.jpg supervises ('instance',), and none of" in str(caught.value)
    assert 'change its probs, or leave this dataset out' in str(caught.value)
