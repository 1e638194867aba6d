"""Training samples that depend on the seed and the iteration alone.

How often a run was resumed, and how many processes load its data, changes
neither the order of the images nor their augmentation.
"""

import random
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import BatchSampler, Dataset, Sampler

from ..errors import InputError


def seed_generators(seed: int, key: tuple[int, ...]) -> None:
    """Seed the generators of Python, NumPy and PyTorch, on all devices.

    Args:
        seed (int): Of the run.
        key (tuple[int, ...]): What the numbers are for: each key has a
            sequence of its own.
    """
    first, second = np.random.SeedSequence(seed, spawn_key=key).generate_state(
        2, np.uint64
    )
    random.seed(int(first))
    np.random.seed(int(first) % 2**32)
    torch.manual_seed(int(second))


class Draw(NamedTuple):
    """A sample of a dataset, and what its augmentation is seeded with.

    Attributes:
        place (int): Index of the sample in the dataset.
        seed (int): Of the run.
        key (tuple[int, int, int]): Rank, iteration and place in the batch.
    """

    place: int
    seed: int
    key: tuple[int, int, int]


class SeededDataset(Dataset):
    """Seeds the generators for each sample before it is loaded.

    Apart from that it is the dataset that it wraps, attributes included.

    Args:
        dataset (dict): Config of the dataset.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)

    def __getitem__(self, draw: Draw) -> Any:
        """Load a sample."""
        seed_generators(draw.seed, draw.key)
        return self.dataset[draw.place]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)


class SeededBatches(Sampler[list[Draw]]):
    """Batches without end, from any iteration on.

    Those before are drawn, but none of their images is read. There are none
    at all before :meth:`begin`.

    Args:
        sampler (Sampler): Indices of samples. One that ends begins again,
            with the next epoch as its ``epoch``.
        batch_size (int): Samples in a batch.
        batch_sampler (dict, optional): Config of what makes batches of the
            indices; by default they are taken as they come.
        drop_last (bool): By default, leave out a smaller batch at the end of
            an epoch.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        batch_sampler: dict | None = None,
        drop_last: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        if batch_sampler is None:
            self._batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self._batches = DATA_SAMPLERS.build(
                batch_sampler,
                default_args=dict(sampler=sampler, batch_size=batch_size),
            )
        self._seed = 0
        self._iteration: int | None = None

    def begin(self, seed: int, iteration: int) -> None:
        """Set where to begin, once.

        Args:
            seed (int): Of the run, equal on all ranks.
            iteration (int): Number of batches that were trained before.
        """
        if hasattr(self.sampler, 'seed'):
            # A resumed run has another seed than it was built with.
            self.sampler.seed = seed
        self._seed, self._iteration = seed, iteration

    def __iter__(self) -> Iterator[list[Draw]]:
        if self._iteration is None:
            return
        rank = get_rank()
        batches = islice(self._endless(), self._iteration, None)
        for iteration, batch in enumerate(batches, self._iteration):
            yield [
                Draw(index, self._seed, (rank, iteration, place))
                for place, index in enumerate(batch)
            ]

    def _endless(self) -> Iterator[list[int]]:
        for epoch in count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            empty = True
            for batch in self._batches:
                empty = False
                yield batch
            if empty:
                raise InputError(
                    f'Too few samples for a batch of {self.batch_size}: '
                    'lower train_dataloader.batch_size, or leave drop_last '
                    'out.'
                )

    def __len__(self) -> int:
        """Return the number of batches of one epoch."""
        return len(self._batches)
