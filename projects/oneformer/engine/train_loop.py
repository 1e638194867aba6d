"""Training that continues after an interruption as if there had been none."""

import logging
from copy import copy

from mmdet.registry import LOOPS
from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from ..errors import InputError
from .seeded_samples import SeededBatches, SeededDataset, seed_generators

_RECORD = 'train_samples'  # in the message hub, and so in checkpoints


@LOOPS.register_module()
class ReproducibleTrainLoop(IterBasedTrainLoop):
    """Iterations that depend only on the seed and their number.

    Before each iteration the generators of Python, NumPy and PyTorch are
    seeded with the seed of the run, the rank and the number of the iteration;
    before each sample, also with its index in the batch. Therefore a
    checkpoint needs no state of generators or samplers: N iterations, a kill,
    ``--resume`` and M iterations give the same weights as N + M iterations.
    Images that were seen before are not read again.

    Args:
        runner (Runner): Runs the loop.
        dataloader (dict): Config of the dataloader. Sampler and batch sampler
            must give the same indices for the same seed.
        max_iters (int): Number of iterations.
        val_begin (int): The first iteration after which to validate.
        val_interval (int): Validate after every so many iterations, and after
            the last.
        dynamic_intervals (list[tuple[int, int]], optional): Further validation
            intervals, each with its first iteration.

    Raises:
        TypeError: If the dataloader is built already.
        ValueError: If it has no samples.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        if not isinstance(dataloader, dict):
            raise TypeError(
                f'{type(self).__name__} builds train_dataloader itself: '
                f'expected its config, got a {type(dataloader).__name__}. '
                'Give the config, or train with IterBasedTrainLoop.'
            )
        super().__init__(
            runner,
            seeded(dataloader),
            max_iters,
            val_begin,
            val_interval,
            dynamic_intervals,
        )
        # The original mmengine starts loader processes here. They would not
        # have the handlers of signals that hooks install before training.
        self.dataloader_iterator = self.dataloader._iterator = None

    def run(self) -> nn.Module:
        """Train, and return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        seed, rank = self._begin(), get_rank()
        batches = self.dataloader_iterator = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            batch = next(batches)
            seed_generators(seed, (rank, self._iter))
            self.run_iter(batch)
            self._decide_current_val_interval()
            if self._is_time_to_validate():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _begin(self) -> int:
        """Set the first batch, and return the seed of the run."""
        if not len(self.dataloader.dataset):
            raise InputError(
                'The training set has no samples: check ann_file, data_prefix '
                'and filter_cfg of train_dataloader.dataset.'
            )
        seeds = [self.runner.seed]
        broadcast_object_list(seeds)  # ranks may have seeds of their own
        (seed,) = seeds
        batches = self.dataloader.batch_sampler
        record = dict(
            seed=seed,
            processes=get_world_size(),
            batch_size=batches.batch_size,
            samples=len(self.dataloader.dataset),
        )
        hub = self.runner.message_hub
        if self._iter > 0:
            self._warn_of_changes(hub.runtime_info.get(_RECORD), record)
            print_log(
                f'Continuing with iteration {self._iter + 1}; the images of '
                'those before are not read.',
                logger='current',
            )
        hub.update_info(_RECORD, record)
        batches.begin(seed, self._iter)
        return seed

    def _warn_of_changes(self, before: dict | None, now: dict) -> None:
        if before == now:
            return
        if before is None:
            reason = (
                'the checkpoint does not record how its samples were drawn'
            )
        else:
            reason = ', '.join(
                f'{key} was {before.get(key)} and is {value}'
                for key, value in now.items()
                if before.get(key) != value
            )
        print_log(
            'Weights, optimizer and schedule continue, but samples and random '
            'numbers differ from those of an uninterrupted training: '
            f'{reason}.',
            logger='current',
            level=logging.WARNING,
        )

    def _is_time_to_validate(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (
                self._iter % self.val_interval == 0
                or self._iter == self._max_iters
            )
        )


def seeded(dataloader: dict) -> dict:
    """Return the config of a dataloader with seeded samples and batches."""
    config = copy(dataloader)
    config['dataset'] = dict(type=SeededDataset, dataset=config['dataset'])
    config['batch_sampler'] = dict(
        type=SeededBatches,
        batch_sampler=config.get('batch_sampler'),
        drop_last=config.pop('drop_last', False),
    )
    return config
