"""A checkpoint is whole or not there, and there is always one."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from mmengine.fileio import get_file_backend

from projects.oneformer.engine.checkpoint_hook import WholeFilesBackend
from projects.oneformer.engine.work_dir import damage
from tests.engine.toy_training import read, toy_runner


def names(folder: Path) -> list[str]:
    """Return the checkpoints of a folder, and what was left of any."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if '.pth' in path.name or '.part' in path.name
    )


def fail_after(successes: int, monkeypatch) -> None:
    """Let the disk be full after some files."""
    sync, calls = os.fsync, []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) > successes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, 'fsync', full)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path, monkeypatch
):
    path = tmp_path / 'sub' / 'a.pth'
    backend = WholeFilesBackend()
    backend.put(b'old', path)
    fail_after(0, monkeypatch)
    with pytest.raises(OSError) as caught:
        backend.put(b'new', path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b'old'
    assert names(path.parent) == ['a.pth']


def write_and_die(path: Path) -> None:
    os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
    WholeFilesBackend().put(b'new', path)


def test_a_process_killed_while_it_saves_leaves_the_old_checkpoint(tmp_path):
    toy_runner(tmp_path, 1).train()
    path = tmp_path / 'iter_1.pth'
    before = path.read_bytes()
    process = multiprocessing.get_context('fork').Process(
        target=write_and_die, args=(path,)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert names(tmp_path) == ['.iter_1.pth.part', 'iter_1.pth']
    assert path.read_bytes() == before
    # The next training removes what is left.
    toy_runner(tmp_path, 2, resume=True, load_from=str(path)).train()
    assert names(tmp_path) == ['iter_1.pth', 'iter_2.pth']


def test_an_old_checkpoint_stays_until_the_new_one_is_whole(
    tmp_path, monkeypatch
):
    fail_after(2, monkeypatch)
    with pytest.raises(OSError, match='No space left'):
        toy_runner(tmp_path, 5, checkpoint=dict(max_keep_ckpts=1)).train()
    assert names(tmp_path) == ['iter_2.pth']
    assert damage(tmp_path / 'iter_2.pth') is None


def test_as_many_checkpoints_stay_as_the_option_says(tmp_path):
    toy_runner(tmp_path, 5, checkpoint=dict(max_keep_ckpts=2)).train()
    assert names(tmp_path) == ['iter_4.pth', 'iter_5.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(
        tmp_path / 'iter_5.pth'
    )


def test_the_best_checkpoint_stays_until_a_better_one_is_whole(
    tmp_path, monkeypatch
):
    options = dict(interval=9, save_best='toy/score', rule='greater')
    # The first one is the best at first, the second one is better.
    fail_after(1, monkeypatch)
    with pytest.raises(OSError, match='No space left'):
        toy_runner(tmp_path, 9, checkpoint=options, val_interval=1).train()
    assert names(tmp_path) == ['best_toy_score_iter_1.pth']
    monkeypatch.undo()
    toy_runner(tmp_path, 2, checkpoint=options, val_interval=1).train()
    assert names(tmp_path) == [
        'best_toy_score_iter_2.pth',
        'iter_1.pth',
        'iter_2.pth',
    ]


@pytest.mark.parametrize(
    ('interval', 'iterations', 'counts', 'saved'),
    [
        (50, 20, 1, range(2, 21, 2)),  # longer than the training: a tenth
        (8, 20, 1, [8, 16, 20]),
        (20, 20, 1, [20]),
        (-1, 20, 1, [20]),  # the last one alone
        (50, 5, 1, range(1, 6)),
        (3, 10, 2, [4, 8, 10]),  # a step of the optimizer takes two
    ],
)
def test_the_interval_fits_the_training(
    tmp_path, interval, iterations, counts, saved
):
    toy_runner(
        tmp_path,
        iterations,
        checkpoint=dict(interval=interval),
        accumulative_counts=counts,
    ).train()
    assert names(tmp_path) == sorted(f'iter_{i}.pth' for i in saved)
    assert read(tmp_path / f'iter_{iterations}.pth')['meta']['iter'] == (
        iterations
    )


def test_another_backend_of_mmengine_may_write(tmp_path):
    options = dict(backend_args=dict(backend='local'))
    runner = toy_runner(tmp_path, 1, checkpoint=options)
    runner.train()
    assert names(tmp_path) == ['iter_1.pth']
    assert type(get_file_backend(str(tmp_path))) is not WholeFilesBackend
