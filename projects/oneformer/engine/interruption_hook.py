"""Save a checkpoint when a training is asked to stop."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from .checkpoint_hook import WholeCheckpointHook

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after saving a checkpoint.

    Attributes:
        signal (signal.Signals): The signal that stopped it.
        checkpoint (str): Path of the checkpoint.
    """

    def __init__(
        self, cause: signal.Signals, iteration: int, checkpoint: str
    ) -> None:
        super().__init__(
            f'Stopped by {cause.name} after iteration {iteration}, which is '
            f'saved in {checkpoint}.'
        )
        self.signal = cause
        self.checkpoint = checkpoint


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On Ctrl-C or SIGTERM, finish the iteration, save a checkpoint and stop.

    A second Ctrl-C stops at once. A validation stops after its current batch,
    and is not repeated when training resumes. Without a
    :class:`WholeCheckpointHook` that counts iterations, signals keep their
    usual effect.

    Args:
        interval (int): The processes of a distributed training agree on
            stopping every so many iterations.

    Raises:
        TrainingInterrupted: After the checkpoint is saved.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._checkpoints: WholeCheckpointHook | None = None
        self._requested: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._process = 0

    def before_train(self, runner: Runner) -> None:
        """Install the signal handlers."""
        self._requested = None
        self._process = os.getpid()
        self._checkpoints = next(
            (
                hook
                for hook in runner.hooks
                if isinstance(hook, WholeCheckpointHook) and not hook.by_epoch
            ),
            None,
        )
        is_main_thread = threading.current_thread() is threading.main_thread()
        if self._checkpoints is not None and is_main_thread:
            self._previous = {
                number: signal.signal(number, self._note)
                for number in _SIGNALS
            }

    def after_train(self, runner: Runner) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Stop after a signal, once the optimizer has made its step."""
        done = runner.iter + 1
        wrapper = runner.optim_wrapper
        if getattr(wrapper, 'should_update', lambda: True)():
            self._stop_if_requested(runner, done, done)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Stop after a signal, with the weights that are validated.

        ``EMAHook`` has put averaged weights in their place: with it, training
        stops after the next iteration.
        """
        averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if self._previous and not averaged:
            self._stop_if_requested(runner, batch_idx + 1, runner.iter)

    def _stop_if_requested(
        self, runner: Runner, count: int, iteration: int
    ) -> None:
        signaled = self._requested
        if get_world_size() > 1:
            if count % self.interval:
                return
            number = torch.tensor(int(self._requested or 0))
            all_reduce(number, 'max')
            signaled = signal.Signals(int(number)) if number else None
        if signaled is None or self._checkpoints is None:
            return
        checkpoint = self._checkpoints.save_now(runner, iteration)
        barrier()  # a process that ends earlier may end the others
        self.after_train(runner)
        raise TrainingInterrupted(signaled, iteration, checkpoint)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # Ctrl-C reaches the loader processes too, which are needed up to
            # the checkpoint; SIGTERM is how they are ended.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT and self._requested == number:
            for known, handler in self._previous.items():
                signal.signal(known, handler)
            raise KeyboardInterrupt
        self._requested = self._requested or signal.Signals(number)
        if is_main_process():
            print(
                f'\n{signal.Signals(number).name}: saving a checkpoint after '
                'this iteration. Ctrl-C once more stops at once.',
                file=sys.stderr,
                flush=True,
            )
