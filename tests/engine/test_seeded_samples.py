"""What a sample is drawn with depends on its number alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.utils.data import SequentialSampler

from projects.oneformer.engine import seeded_samples
from projects.oneformer.engine.seeded_samples import (
    Draw,
    SeededBatches,
    SeededDataset,
    seed_generators,
)
from tests.engine.toy_training import NUM_SAMPLES, Noise


def numbers(seed: int, *key: int) -> tuple[float, float, float]:
    seed_generators(seed, key)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_one_key_gives_the_same_numbers_again_from_all_generators():
    first = numbers(3, 0, 5)
    numbers(4, 1)
    assert numbers(3, 0, 5) == first


def test_each_key_and_seed_has_numbers_of_its_own():
    keys = [(3, 0, 5), (3, 5, 0), (3, 0, 5, 0), (3, 0, 5, 1), (4, 0, 5)]
    keys += [(3, 0, iteration) for iteration in range(6, 200)]
    for drawn in zip(*(numbers(*key) for key in keys), strict=True):
        assert len(set(drawn)) == len(keys)


def test_the_first_numbers_of_many_samples_are_uniform():
    draws = [numbers(3, 0, iteration, 0) for iteration in range(2000)]
    for drawn in zip(*draws, strict=True):
        assert kstest(drawn, 'uniform').pvalue > 0.01


def test_a_sample_is_the_same_whatever_was_drawn_before():
    dataset = SeededDataset(dict(type=Noise))
    draw = Draw(place=2, seed=3, key=(0, 5, 1))
    first = dataset[draw]['inputs']
    dataset[Draw(0, 3, (0, 0, 0))]
    assert torch.equal(dataset[draw]['inputs'], first)
    assert first[0] == 2
    other = dataset[draw._replace(key=(0, 6, 1))]['inputs']
    assert not torch.isclose(other[1:], first[1:]).any()


def test_the_dataset_inside_is_reached_also_by_spawned_processes():
    dataset = pickle.loads(pickle.dumps(SeededDataset(dict(type=Noise))))
    assert dataset.metainfo == Noise.metainfo
    assert len(dataset) == NUM_SAMPLES
    with pytest.raises(AttributeError, match='nothing'):
        _ = dataset.nothing


def batches(length: int, size: int, first: int, count: int) -> list[list]:
    loader = SeededBatches(SequentialSampler(range(length)), size)
    loader.begin(seed=3, iteration=first)
    drawn = iter(loader)
    return [next(drawn) for _ in range(count)]


def test_batches_begin_at_any_iteration_and_never_end():
    drawn = batches(length=5, size=2, first=0, count=7)
    indices = [[draw.place for draw in batch] for batch in drawn]
    assert indices == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [4], [0, 1]]
    assert drawn[4] == [Draw(2, 3, (0, 4, 0)), Draw(3, 3, (0, 4, 1))]
    assert batches(length=5, size=2, first=4, count=3) == drawn[4:]


def test_nothing_is_drawn_before_the_beginning_is_set():
    assert list(SeededBatches(SequentialSampler(range(5)), 2)) == []


def test_ranks_draw_differently(monkeypatch):
    monkeypatch.setattr(seeded_samples, 'get_rank', lambda: 1)
    ((draw,),) = batches(length=1, size=1, first=0, count=1)
    assert draw == Draw(0, 3, (1, 0, 0))


def test_a_set_without_a_batch_is_refused():
    loader = SeededBatches(SequentialSampler(range(1)), 2, drop_last=True)
    loader.begin(seed=3, iteration=0)
    with pytest.raises(
        ValueError, match='Too few samples for a batch of 2: low'
    ):
        next(iter(loader))
