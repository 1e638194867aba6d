"""Loader processes end with the process that they load data for."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@HOOKS.register_module()
class LoaderProcessHook(Hook):
    """End loader processes together with the process that reads from them.

    By default they notice the end of that process, except while they wait for
    it to take a batch: after ``kill -9`` they would keep running and hold
    their memory and the pipes of the terminal. The hook has an effect on Linux
    only.
    """

    def before_train(self, runner: Runner) -> None:
        """Tie the processes that load training data, which start later."""
        tie(runner.train_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Tie the processes that load validation data."""
        tie(runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Tie the processes that load test data."""
        tie(runner.test_dataloader)


def tie(loader: DataLoader) -> None:
    """Let the processes of a loader, once they start, end with this one."""
    init = loader.worker_init_fn
    tied = isinstance(init, partial) and init.func is _end_with
    if sys.platform == 'linux' and not tied:
        loader.worker_init_fn = partial(_end_with, os.getpid(), init)


def _end_with(
    parent: int, init: Callable[[int], None] | None, worker: int
) -> None:
    """Ask to be killed with the parent, then do what the loader asks for."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be asked
        os._exit(1)
    if init is not None:
        init(worker)
