"""Checkpoints that are whole, and there whenever training stops."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import (
    BaseStorageBackend,
    LocalBackend,
    register_backend,
)
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

_PART = '.part'


@register_backend('whole_files')
class WholeFilesBackend(LocalBackend):
    """Writes local files whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file beside the place it then takes.

        Args:
            obj (bytes): Its content.
            filepath (str | Path): Its place.

        Raises:
            OSError: If it cannot be written. What was there before stays,
                and nothing else.
        """
        path = Path(filepath)
        part = path.with_name(f'.{path.name}{_PART}')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # before the name says it is whole
            part.replace(path)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(path)
            raise


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """Write a checkpoint completely or not at all; then remove older ones.

    It has the options of mmengine's ``CheckpointHook``. An interval longer
    than the training, which would save nothing before the end, becomes a
    tenth of it. With gradient accumulation an interval in iterations is
    rounded up to whole steps of the optimizer, as accumulated gradients are
    not saved.

    Args:
        *args: Arguments of ``CheckpointHook``.
        backend_args (dict, optional): File backend of mmengine that writes
            the checkpoints. By default they are written by
            :class:`WholeFilesBackend`.
        **kwargs: Arguments of ``CheckpointHook``.
    """

    interval: int
    file_backend: BaseStorageBackend

    def __init__(
        self, *args, backend_args: dict | None = None, **kwargs
    ) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)
        is_local = '://' not in str(self.out_dir or '')
        if backend_args is None and self.file_client_args is None and is_local:
            self.backend_args = dict(backend='whole_files')
        self._saved_iteration = -1

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and fit the interval to the training."""
        super().before_train(runner)
        self._saved_iteration = -1
        if is_main_process() and isinstance(
            self.file_backend, WholeFilesBackend
        ):
            for part in Path(self.out_dir).glob(f'.*{_PART}'):
                part.unlink()  # of a process that was killed
        if not self.by_epoch:
            self._fit_interval(runner)

    def _fit_interval(self, runner: Runner) -> None:
        interval = self.interval
        if interval > runner.max_iters:
            interval = max(1, runner.max_iters // 10)
        steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if interval > 0:
            interval = -(-interval // steps) * steps
        if interval != self.interval:
            runner.logger.warning(
                f'Checkpoints are saved every {interval} iterations, not '
                f'every {self.interval}: training takes {runner.max_iters} '
                f'iterations, a step of the optimizer {steps}.'
            )
            self.interval = interval

    def save_now(self, runner: Runner, iteration: int) -> str:
        """Save a checkpoint unless this iteration has one.

        Args:
            runner (Runner): Of the training.
            iteration (int): Number of iterations done.

        Returns:
            str: Path of the checkpoint.
        """
        if iteration != self._saved_iteration:
            meta = dict(epoch=runner.epoch, iter=iteration)
            self._save_checkpoint_with_step(runner, iteration, meta)
        return str(self.last_ckpt)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        with self._removals_last(runner):
            super()._save_checkpoint_with_step(runner, step, meta)
        self._saved_iteration = meta['iter']

    def _save_best_checkpoint(
        self, runner: Runner, metrics: dict[str, float]
    ) -> None:
        with self._removals_last(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_last(self, runner: Runner) -> Iterator[None]:
        """Remove what mmengine removes only after it has saved."""
        backend = self.file_backend
        removals: list[tuple[Callable[[Any], None], Any]] = []
        self.file_backend = copy(backend)
        for name in ('remove', 'rmtree'):
            remove = getattr(backend, name)
            setattr(
                self.file_backend,
                name,
                lambda path, remove=remove: removals.append((remove, path)),
            )
        try:
            yield
        finally:
            self.file_backend = backend
        for remove, path in removals:
            try:
                remove(path)
            except OSError as error:  # it costs space, nothing else
                runner.logger.warning(f'{path} was not removed: {error}')
