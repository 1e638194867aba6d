"""The folder that a training writes to: one training, whole checkpoints."""

import errno
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..errors import UserError

if os.name == 'posix':
    import fcntl

_LOCK = '.lock'
# The disk is full, a quota or limit is used up, or writing is not allowed.
_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}


class WorkDirError(UserError, RuntimeError):
    """A training cannot use its folder; the message says why."""


@HOOKS.register_module()
class WorkDirLockHook(Hook):
    """Prevent a second training in the folder of a running one.

    The operating system releases the lock when the process ends, even if it is
    killed.

    Raises:
        WorkDirError: If another training uses the folder.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def before_train(self, runner: Runner) -> None:
        """Lock the folder."""
        if is_main_process():
            self._file = lock(Path(runner.work_dir))

    def after_train(self, runner: Runner) -> None:
        """Release the folder."""
        if self._file is not None:
            self._file.close()
            self._file = None


def lock(folder: Path) -> IO[str]:
    """Lock a folder for this process until the file is closed.

    Where the file system has no locks, a warning says so.

    Raises:
        WorkDirError: If another process has locked it.
    """
    file = (folder / _LOCK).open('a+', encoding='utf-8')
    try:
        if os.name != 'posix':
            raise OSError('this system has no such locks')
        # Of the process alone: loader processes do not inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise WorkDirError(
            f'Another training writes to {folder}: {owner}. Wait for its end, '
            'stop it, or give this one a folder of its own with --work-dir.'
        ) from error
    except OSError as error:
        print_log(
            f'{folder} cannot be locked ({error}): take care that no other '
            'training writes to it.',
            logger='current',
            level=logging.WARNING,
        )
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    return file


@contextmanager
def explained_disk_errors() -> Iterator[None]:
    """Say what to do where a file cannot be written.

    Raises:
        WorkDirError: In place of the error of the operating system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise WorkDirError(
            f'{error.filename or "A file"} cannot be written: '
            f'{error.strerror}. Make room there, or give another --work-dir. '
            'Checkpoints that were saved before are whole: --resume continues '
            'with the newest.'
        ) from error


def resume_from_newest(config: Config) -> list[str]:
    """Set up a config to continue with the newest whole checkpoint.

    Without any checkpoint, training begins as the config says.

    Args:
        config (Config): Of the training, with its ``work_dir``.

    Returns:
        list[str]: Sentences on what was found.

    Raises:
        WorkDirError: If there are checkpoints, but none is whole.
    """
    path, report = newest_whole_checkpoint(config.work_dir)
    if path is None and report:
        raise WorkDirError(
            f'No checkpoint in {config.work_dir} is whole. '
            f'{" ".join(report)} Restore one, or remove them to train from '
            'the beginning.'
        )
    config.resume = path is not None
    if path is None:
        return [f'{config.work_dir} has no checkpoint: training begins.']
    config.load_from = str(path)
    return [*report, f'Resuming from {path}.']


def newest_whole_checkpoint(
    folder: str | Path,
) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to continue with.

    Args:
        folder (str | Path): Of the training.

    Returns:
        tuple[Path | None, list[str]]: The newest whole checkpoint, None if
        there is none, and a sentence on each newer one that is damaged or
        missing.
    """
    faults: list[str] = []
    for path in _candidates(Path(folder)):
        fault = damage(path)
        if fault is None:
            return path, faults
        faults.append(f'{path} is passed over: {fault}.')
    return None, faults


def _candidates(folder: Path) -> list[Path]:
    """Return checkpoints of a training, the newest first."""
    paths = [
        path
        for kind in ('iter', 'epoch')
        for path in folder.glob(f'{kind}_*.pth')
        if _number(path) >= 0
    ]
    paths.sort(key=lambda p: (p.stat().st_mtime_ns, _number(p)), reverse=True)
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return paths
    name = pointer.read_text(encoding='utf-8', errors='replace').strip()
    if not name:
        return paths
    last = Path(name)
    # As written, or where the folder has been moved to.
    last = folder / last.name if (folder / last.name).exists() else last
    # A copy of a folder may have changed the order of times.
    if last not in paths or _number(paths[0]) < _number(last):
        paths = [last, *(path for path in paths if path != last)]
    return paths


def _number(path: Path) -> int:
    found = re.fullmatch(r'[a-z]+_(\d+)\.pth', path.name)
    return int(found[1]) if found else -1


def damage(path: Path) -> str | None:
    """Return what is wrong with the file of a checkpoint, None if nothing.

    All of it is read, and its checksums are compared.
    """
    try:
        with ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        return 'there is no such file'
    except (BadZipFile, EOFError, OSError) as error:
        return f'it is not whole ({error})'
    return f'the checksum of {broken} is wrong' if broken else None
