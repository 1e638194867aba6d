"""The folder of a training: one training, and its newest whole checkpoint."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.oneformer.engine.work_dir import (
    WorkDirError,
    explained_disk_errors,
    lock,
    newest_whole_checkpoint,
    resume_from_newest,
)
from tests.engine.toy_training import toy_runner


def save(path: Path, when: int) -> Path:
    """Write a file of PyTorch with a time of its own."""
    torch.save(dict(values=torch.arange(5)), path)
    os.utime(path, (when, when))
    return path


def truncate(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-20])
    os.utime(path, (stat.st_atime, stat.st_mtime))


def flip_a_bit(path: Path) -> None:
    stat = path.stat()
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(5).numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, (stat.st_atime, stat.st_mtime))


def test_the_newest_checkpoint_is_the_one_to_continue_with(tmp_path):
    save(tmp_path / 'iter_9.pth', 1)  # of an earlier training
    newest = save(tmp_path / 'iter_4.pth', 3)
    save(tmp_path / 'iter_2.pth', 2)
    save(tmp_path / 'best_iter_6.pth', 4)  # without an optimizer
    assert newest_whole_checkpoint(tmp_path) == (newest, [])


def test_damaged_checkpoints_are_named_and_passed_over(tmp_path):
    whole = save(tmp_path / 'iter_1.pth', 1)
    flip_a_bit(save(tmp_path / 'iter_2.pth', 2))
    truncate(save(tmp_path / 'iter_3.pth', 3))
    (tmp_path / 'iter_4.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_5.pth'))
    found, faults = newest_whole_checkpoint(tmp_path)
    assert found == whole
    named = [fault.split(' is passed over: ') for fault in faults]
    assert [Path(name).name for name, _ in named] == [
        f'iter_{number}.pth' for number in (5, 4, 3, 2)
    ]
    reasons = [reason for _, reason in named]
    assert reasons[0] == 'there is no such file.'
    assert reasons[1].startswith('it is not whole (')
    assert reasons[2].startswith('it is not whole (')
    assert reasons[3].startswith('the checksum of ')


@pytest.mark.parametrize('pointer', [None, '', 'nowhere/iter_2.pth'])
def test_the_pointer_may_be_missing_empty_or_of_a_folder_that_has_moved(
    tmp_path, pointer
):
    save(tmp_path / 'iter_1.pth', 1)
    newest = save(tmp_path / 'iter_2.pth', 2)
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    assert newest_whole_checkpoint(tmp_path) == (newest, [])


def test_a_copied_folder_continues_with_the_checkpoint_of_its_pointer(
    tmp_path,
):
    last = save(tmp_path / 'iter_2.pth', 1)
    save(tmp_path / 'iter_1.pth', 2)  # copied later
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_2.pth')
    assert newest_whole_checkpoint(tmp_path) == (last, [])


def test_a_checkpoint_newer_than_the_pointer_goes_first(tmp_path):
    # Killed after the checkpoint was written, before the pointer was.
    older = save(tmp_path / 'iter_1.pth', 1)
    newest = save(tmp_path / 'iter_2.pth', 2)
    (tmp_path / 'last_checkpoint').write_text(str(older))
    assert newest_whole_checkpoint(tmp_path) == (newest, [])


def test_a_config_is_set_up_to_resume(tmp_path):
    config = Config(dict(work_dir=str(tmp_path), load_from='weights.pth'))
    (sentence,) = resume_from_newest(config)
    assert sentence.endswith('has no checkpoint: training begins.')
    # Without a checkpoint, training begins as the config says.
    assert (config.resume, config.load_from) == (False, 'weights.pth')
    path = save(tmp_path / 'iter_1.pth', 1)
    assert resume_from_newest(config) == [f'Resuming from {path}.']
    assert (config.resume, config.load_from) == (True, str(path))
    truncate(path)
    with pytest.raises(WorkDirError) as caught:
        resume_from_newest(config)
    assert str(caught.value).startswith(f'No checkpoint in {tmp_path} is who')
    assert 'iter_1.pth is passed over: it is not whole' in str(caught.value)


def hold(folder: Path, ready) -> None:
    file = lock(folder)
    ready.set()
    time.sleep(60)
    file.close()


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_a_folder_has_one_training_at_a_time(tmp_path, end):
    context = multiprocessing.get_context('fork')
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(WorkDirError) as caught:
            toy_runner(tmp_path, 1).train()
        message = str(caught.value)
        assert message.startswith(f'Another training writes to {tmp_path}: ')
        assert f'process {other.pid} on ' in message
        assert not (tmp_path / 'iter_1.pth').exists()
    finally:
        os.kill(other.pid, end)
        other.join()
    toy_runner(tmp_path, 1).train()
    assert (tmp_path / 'iter_1.pth').exists()


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_what_cannot_be_written_is_said_in_one_line(number):
    with pytest.raises(WorkDirError) as caught, explained_disk_errors():
        raise OSError(number, os.strerror(number), 'out/iter_1.pth')
    message = str(caught.value)
    assert message.startswith('out/iter_1.pth cannot be written: ')
    assert os.strerror(number) in message
    assert '\n' not in message


def test_other_errors_stay_what_they_are():
    with pytest.raises(FileNotFoundError), explained_disk_errors():
        Path('nowhere/file').read_text()
