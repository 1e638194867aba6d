"""Results of any number of images as JSON lines, in constant memory.

A line is added for each image as soon as it is done, and never changed: the
file is result and record of what is done. Each process has a file of its own.
"""

import json
import os
import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

from projects.oneformer.errors import FileError, InputError
from projects.oneformer.file_writing import write_json

# The beginning of a line, which is read without the rest of it.
KEY = re.compile(rb'\{"file": ("(?:[^"\\]|\\.)*")')


class ResultLog:
    """The lines of one process, in a folder that others may write to.

    Args:
        folder (Path): Made if there is none.
        kind (str): Beginning of the names of its files.
        settings (dict): What all results of the folder have in common, for
            ``KIND.settings.json``.
        rank (int): Place of this process, from 0.
        world_size (int): Number of processes.
        resume (bool): Go on where earlier runs ended.

    Raises:
        InputError: If the folder has results and this run does not resume,
            or has results of other settings.
        FileError: If the file of the settings is damaged.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        settings: dict,
        rank: int = 0,
        world_size: int = 1,
        resume: bool = False,
    ) -> None:
        self.folder = folder
        self.kind = kind
        shard = '' if world_size == 1 else f'-{rank:05d}-of-{world_size:05d}'
        self.path = folder / f'{kind}{shard}.jsonl'
        self.world_size = world_size
        folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(settings)
        if not resume:
            self._check_new()
        self._finished = self.path.with_suffix('.finished')
        self._finished.unlink(missing_ok=True)
        _cut_last_line(self.path)
        self._done = self._read_done() if resume else np.empty(0, np.uint64)
        self._file = self.path.open('ab')

    def _check_new(self) -> None:
        """Raise InputError if there are results of another run."""
        shards = f'-of-{self.world_size:05d}.jsonl'
        for path in self.logs():
            # The other processes of this run may have begun.
            if path == self.path or not path.name.endswith(shards):
                raise InputError(
                    f'{path} has results: go on with --resume, or choose '
                    'another --out-dir.'
                )

    def _check_settings(self, settings: dict) -> None:
        path = self.folder / f'{self.kind}.settings.json'
        if not path.exists():
            write_json(str(path), settings)
            return
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise FileError(
                f'{path} is damaged: expected the settings of the results '
                'beside it. Remove it if they are those of this run, or '
                'choose another --out-dir.'
            )
        # As JSON has them.
        for key, own in json.loads(json.dumps(settings)).items():
            if found.get(key) != own:
                raise InputError(
                    f'{path} is of a run with {key} = '
                    f'{_short(found.get(key))}, this one has {_short(own)}: '
                    'choose another --out-dir.'
                )

    def __contains__(self, path: str) -> bool:
        """Whether an earlier run has done an image."""
        number = key_of(path)
        place = np.searchsorted(self._done, number)
        return bool(place < len(self._done) and self._done[place] == number)

    def add(self, path: str, record: dict) -> None:
        """Add the results of an image; they are on disk afterwards.

        Raises:
            FileError: If they cannot be written.
        """
        line = json.dumps(dict(file=path) | record).encode() + b'\n'
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise FileError(
                f'{self.path} cannot be written: {error}'
            ) from error

    def close(self) -> None:
        """Close the file; what it holds stays."""
        self._file.close()

    def finish(self) -> bool:
        """Note that this process is done, and return whether all are."""
        if self.world_size == 1:
            return True
        self._finished.touch()
        return all(
            self.path.with_name(
                f'{self.kind}-{rank:05d}-of-{self.world_size:05d}.finished'
            ).exists()
            for rank in range(self.world_size)
        )

    def logs(self) -> list[Path]:
        """Return the files of all processes of all runs."""
        return logs_in(self.folder, self.kind)

    def records(self) -> Iterator[dict]:
        """Yield all lines of all files."""
        for path in self.logs():
            with path.open('rb') as lines:
                for line in lines:
                    if line.endswith(b'\n'):  # else another is writing it
                        yield json.loads(line)

    def _read_done(self) -> np.ndarray:
        """Return the sorted keys of what is done: 8 bytes for an image."""
        keys = np.fromiter(self._keys(), np.uint64)
        keys.sort()
        return keys

    def _keys(self) -> Iterator[int]:
        for path in self.logs():
            with path.open('rb') as lines:
                for line in lines:
                    found = KEY.match(line)
                    if not found:
                        raise InputError(
                            f'{path} is no result of infer.py: choose '
                            'another --out-dir, or move the file away.'
                        )
                    if line.endswith(b'\n'):
                        yield key_of(json.loads(found[1]))


def logs_in(folder: Path, kind: str) -> list[Path]:
    """Return the files of lines in a folder, of all processes and runs."""
    pattern = re.compile(rf'{kind}(-\d+-of-\d+)?\.jsonl')
    return sorted(
        path for path in folder.glob('*.jsonl') if pattern.fullmatch(path.name)
    )


def key_of(path: str) -> int:
    """Return 64 bits that stand for an image."""
    name = os.fsencode(path if '://' in path else os.path.abspath(path))
    return int.from_bytes(blake2b(name, digest_size=8).digest(), 'big')


def _cut_last_line(path: Path) -> None:
    """Remove what a killed process has written of a line."""
    if not path.exists():
        return
    with path.open('r+b') as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 2**16)
            file.seek(start)
            found = file.read(end - start).rfind(b'\n')
            if found >= 0:
                end = start + found + 1
                break
            end = start
        file.truncate(end)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
