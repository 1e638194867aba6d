"""A training of milliseconds in which everything is drawn at random."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

NUM_SAMPLES = 7
BATCH_SIZE = 2


class Noise(Dataset):
    """Samples of random numbers, from all three generators.

    Args:
        reads (str, optional): File to which the index of each sample that is
            read is appended.
        length (int): Number of samples.
    """

    metainfo = dict(classes=('noise',))

    def __init__(
        self, reads: str | None = None, length: int = NUM_SAMPLES
    ) -> None:
        self.reads = reads
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self.reads:
            with open(self.reads, 'a') as file:
                file.write(f'{index}\n')
        numbers = index, np.random.rand(), random.random(), torch.rand(())
        return dict(inputs=torch.tensor(numbers))

    def get_data_info(self, index: int) -> dict[str, int]:
        """Return the size of an image; every third is upright."""
        return dict(width=3 if index % 3 else 1, height=2)


class Toy(BaseModel):
    """A layer with dropout, and a loss with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(), nn.Linear(8, 1)
        )

    def forward(
        self, inputs: Sequence[Tensor], mode: str = 'tensor'
    ) -> dict | list:
        if mode == 'predict':
            return [0] * len(inputs)
        noise = np.random.rand() + random.random() + torch.rand(())
        return dict(loss=(self.layers(torch.stack(inputs)) + noise).square())


class Rising(BaseMetric):
    """A metric that is better every time."""

    default_prefix = 'toy'
    value = 0

    def process(self, data_batch: object, data_samples: object) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.value += 1
        return dict(score=float(self.value))


def toy_runner(
    folder: Path,
    iterations: int,
    *,
    loader: dict | None = None,
    checkpoint: dict | None = None,
    val_interval: int | None = None,
    accumulative_counts: int = 1,
    seed: int | None = None,
    **options,
) -> Runner:
    """Return the runner of a training.

    Args:
        folder (Path): Of the training.
        iterations (int): Number of iterations.
        loader (dict, optional): Options of the dataloader.
        checkpoint (dict, optional): Options of the checkpoint hook.
        val_interval (int, optional): Validate every so many iterations.
        accumulative_counts (int): Iterations of a step of the optimizer.
        seed (int, optional): Of the training.
        **options: Of the runner.
    """
    train_cfg = dict(type='ReproducibleTrainLoop', max_iters=iterations)
    if val_interval is not None:
        train_cfg['val_interval'] = val_interval
        options.update(
            val_cfg={},
            val_dataloader=dict(
                dataset=dict(type=Noise),
                sampler=dict(type='DefaultSampler', shuffle=False),
                batch_size=1,
            ),
            val_evaluator=dict(type=Rising),
        )
    return Runner(
        model=Toy(),
        work_dir=str(folder),
        # mmengine knows runs by this name, in the whole process.
        experiment_name=f'{folder}{random.random()}',
        train_dataloader=dict(
            dict(
                dataset=dict(type=Noise),
                sampler=dict(type='InfiniteSampler'),
                batch_sampler=dict(type='AspectRatioBatchSampler'),
                batch_size=BATCH_SIZE,
            ),
            **loader or {},
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.1),
            accumulative_counts=accumulative_counts,
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
            dict(type='PolyLR', by_epoch=False, begin=3, end=20),
        ],
        default_hooks=dict(
            checkpoint=dict(
                dict(
                    type='WholeCheckpointHook',
                    by_epoch=False,
                    interval=1,
                ),
                **checkpoint or {},
            ),
            interruption=dict(type='InterruptionHook'),
            work_dir_lock=dict(type='WorkDirLockHook'),
        ),
        randomness=dict(seed=seed),
        default_scope='mmdet',
        log_level='WARNING',
        **options,
    )


def workers(number: int) -> dict:
    """Return the options of a dataloader with so many processes."""
    return dict(num_workers=number, persistent_workers=number > 0)


def read(path: Path) -> dict:
    """Return a checkpoint."""
    return torch.load(path, weights_only=False)


def differing(first: Path, second: Path) -> list[str]:
    """Return the names of what differs in two checkpoints, bit for bit.

    These are the weights, the states of the optimizer and the schedulers,
    averaged weights, and the logged values except times.
    """
    one, other = _flat(read(first)), _flat(read(second))
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


def _flat(checkpoint: dict) -> dict[str, np.ndarray]:
    logs = {
        name: buffer.data[0]
        for name, buffer in checkpoint['message_hub']['log_scalars'].items()
        if 'time' not in name
    }
    parts = {
        name: checkpoint[name]
        for name in checkpoint
        if name not in ('meta', 'message_hub')
    }
    return dict(_leaves(dict(parts, logs=logs), ''))


def _leaves(value: object, path: str):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f'{path}/{key}')
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _leaves(part, f'{path}/{index}')
    else:
        yield path, np.asarray(value)
