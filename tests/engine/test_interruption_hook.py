"""A training that is asked to stop leaves a checkpoint and nothing else."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from projects.oneformer.engine import TrainingInterrupted
from tests.engine.toy_training import differing, toy_runner, workers


class SignalHook(Hook):
    """Send signals to this process in the middle of a training.

    Args:
        iteration (int): Number of iterations done before.
        signals (list[int]): What is sent.
        validating (bool): During the validation after that iteration.
        to_loaders (bool): To the loader processes instead.
    """

    def __init__(
        self,
        iteration: int,
        signals: list[int],
        validating: bool = False,
        to_loaders: bool = False,
    ) -> None:
        self.iteration = iteration
        self.signals = signals
        self.validating = validating
        self.to_loaders = to_loaders

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        if batch_idx == self.iteration and not self.validating:
            self.send()

    def before_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        if self.validating and (runner.iter, batch_idx) == (self.iteration, 0):
            self.send()

    def send(self) -> None:
        processes = [os.getpid()]
        if self.to_loaders:
            processes = [p.pid for p in multiprocessing.active_children()]
            assert processes
        for process in processes:
            for number in self.signals:
                os.kill(process, number)


def train(folder: Path, *, sends: dict | None = None, **options) -> Path:
    hooks = [] if sends is None else [SignalHook(**sends)]
    options.setdefault('checkpoint', dict(interval=5))
    toy_runner(folder, 5, custom_hooks=hooks, seed=0, **options).train()
    return folder / 'iter_5.pth'


@pytest.fixture
def handlers():
    """Handlers that no training has touched."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_iteration_with_a_checkpoint(
    tmp_path, handlers, number, capsys
):
    whole = train(tmp_path / 'whole', checkpoint=dict(interval=1))
    folder = tmp_path / 'stopped'
    start = whole.with_name('iter_1.pth')
    options = dict(resume=True, load_from=str(start))
    with pytest.raises(TrainingInterrupted) as caught:
        train(folder, sends=dict(iteration=2, signals=[number]), **options)
    checkpoint = folder / 'iter_3.pth'
    assert str(caught.value) == (
        f'Stopped by {number.name} after iteration 3, which is saved in '
        f'{checkpoint}.'
    )
    assert 'saving a checkpoint after this iteration' in capsys.readouterr()[1]
    assert differing(checkpoint, whole.with_name('iter_3.pth')) == []
    assert {n: signal.getsignal(n) for n in handlers} == handlers
    last = train(folder, resume=True, load_from=str(checkpoint))
    assert differing(last, whole) == []


def test_a_second_ctrl_c_stops_at_once(tmp_path, handlers):
    sends = dict(iteration=2, signals=[signal.SIGINT] * 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(tmp_path, sends=sends)
    assert not isinstance(caught.value, TrainingInterrupted)
    assert list(tmp_path.glob('*.pth')) == []
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_ctrl_c_followed_by_the_signal_of_a_launcher_saves(tmp_path, handlers):
    sends = dict(iteration=2, signals=[signal.SIGINT, signal.SIGTERM])
    with pytest.raises(TrainingInterrupted, match='SIGINT'):
        train(tmp_path, sends=sends)
    assert (tmp_path / 'iter_3.pth').exists()


def test_a_signal_during_validation_saves_what_is_validated(
    tmp_path, handlers
):
    options = dict(val_interval=2)
    whole = train(tmp_path / 'whole', checkpoint=dict(interval=1), **options)
    options.update(resume=True, load_from=str(whole.with_name('iter_1.pth')))
    sends = dict(iteration=2, signals=[signal.SIGINT], validating=True)
    folder = tmp_path / 'stopped'
    with pytest.raises(TrainingInterrupted, match='after iteration 2'):
        train(folder, sends=sends, **options)
    saved = folder / 'iter_2.pth'
    assert differing(saved, whole.with_name('iter_2.pth')) == []


def test_averaged_weights_are_not_saved_as_the_trained_ones(
    tmp_path, handlers
):
    sends = dict(iteration=2, signals=[signal.SIGINT], validating=True)
    with pytest.raises(TrainingInterrupted, match='after iteration 3'):
        toy_runner(
            tmp_path,
            5,
            custom_hooks=[SignalHook(**sends), dict(type='EMAHook')],
            checkpoint=dict(interval=5),
            val_interval=2,
        ).train()


def test_accumulated_gradients_are_not_lost(tmp_path, handlers):
    sends = dict(iteration=2, signals=[signal.SIGINT])
    with pytest.raises(TrainingInterrupted, match='after iteration 4'):
        train(tmp_path, sends=sends, accumulative_counts=2)


def test_loader_processes_go_on_after_ctrl_c(tmp_path, handlers):
    sends = dict(iteration=1, signals=[signal.SIGINT], to_loaders=True)
    assert train(tmp_path, sends=sends, loader=workers(2)).exists()


def test_without_whole_checkpoints_signals_do_what_they_did(
    tmp_path, handlers
):
    # A process that runs tests for another may ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sends = dict(iteration=2, signals=[signal.SIGINT])
    with pytest.raises(KeyboardInterrupt) as caught:
        train(tmp_path, sends=sends, checkpoint=dict(type='CheckpointHook'))
    assert not isinstance(caught.value, TrainingInterrupted)
