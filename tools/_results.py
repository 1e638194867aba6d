"""The result folder of ``infer.py``: drawings, and one JSON of segments.

Every image is on disk as soon as it is done: a line for it is added to
``segments.partial.jsonl``. ``segments.json`` is written at the end, also of a
run that stops early. A run that is killed leaves the lines, which the next
run in the folder reads.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from projects.oneformer.errors import InputError
from projects.oneformer.file_writing import write_png


class Record(NamedTuple):
    """The results of an image, which stay in the file that has them.

    Attributes:
        drawings (dict[str, str]): Names of its drawings, by task.
        file (Path): ``segments.json`` or the lines that were added since.
        offset (int): Where its line begins.
    """

    drawings: dict[str, str]
    file: Path
    offset: int


class ResultFolder:
    """Results of images, added to those that the folder holds.

    An image that it holds already, by its path, gets its new results in place
    of all its old ones. Drawings are named after the file of the image; if
    the name belongs to another image, ``_2``, ``_3``, ... is appended. Of an
    image only the names of its drawings stay in memory.

    Args:
        folder (Path): Made when the first result is written.
        classes (Sequence[str]): Of the model, in label order.

    Raises:
        ValueError: If the folder holds results of other classes, or a
            ``segments.json`` of another kind.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self.target = folder / 'segments.json'
        self.journal = folder / 'segments.partial.jsonl'
        self.classes = list(classes)
        self.records: dict[str, Record] = {}  # by absolute path
        self._owners: dict[str, str] = {}  # name of drawings: absolute path
        self._use_lines()
        for file in (self.target, self.journal):
            for offset, record in self._read(file):
                self._note(record, file, offset)
        if self.journal.exists():
            self.close()

    def add(
        self, path: Path, record: dict, drawings: dict[str, np.ndarray]
    ) -> None:
        """Write the results of an image.

        Args:
            path (Path): The image.
            record (dict): What ``segments.json`` says of it; ``file`` and
                ``drawings`` are added.
            drawings (dict[str, np.ndarray]): RGB, by task.
        """
        name = self.name_of(path)
        files = {task: f'{name}_{task}.png' for task in drawings}
        for task, drawing in drawings.items():
            write_png(str(self.folder / files[task]), drawing)
        self.add_files(path, record, files)

    def add_files(
        self, path: Path, record: dict, files: dict[str, str]
    ) -> None:
        """Note what was drawn of an image or a video.

        Args:
            path (Path): The image or video.
            record (dict): As for :meth:`add`.
            files (dict[str, str]): Names of the drawings in the folder, by
                task; :meth:`name_of` gives their beginning.
        """
        record = dict(file=str(path), drawings=files, **record)
        line = json.dumps(dict(classes=self.classes, images=[record]))
        with self.journal.open('ab') as lines:
            offset = lines.seek(0, os.SEEK_END)
            lines.write(f'{line}\n'.encode())
        old = self.records.get(os.path.abspath(path))
        self._note(record, self.journal, offset)
        if old:
            for file in set(old.drawings.values()) - set(files.values()):
                (self.folder / file).unlink(missing_ok=True)

    def close(self) -> None:
        """Write ``segments.json``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        offsets = self._write(self._texts())
        for (key, record), offset in zip(
            self.records.items(), offsets, strict=True
        ):
            place = record._replace(file=self.target, offset=offset)
            self.records[key] = place
        self.journal.unlink(missing_ok=True)

    def name_of(self, path: Path) -> str:
        """Return the name of the drawings of an image, which then has it."""
        return self._name(path.stem, os.path.abspath(path))

    def _name(self, stem: str, path: str) -> str:
        name, number = stem, 1
        # Some file systems take upper and lower case for one.
        while self._owners.setdefault(name.casefold(), path) != path:
            number += 1
            name = f'{stem}_{number}'
        return name

    def _note(self, record: dict, file: Path, offset: int) -> None:
        path = os.path.abspath(record['file'])
        drawings = record.get('drawings', {})
        self.records[path] = Record(drawings, file, offset)
        for task, drawing in drawings.items():
            name = drawing.rpartition(f'_{task}.')[0].casefold()
            self._owners[name] = path

    def _texts(self) -> Iterator[bytes]:
        """Yield the JSON of all images, from where they are."""
        handles = {
            file: file.open('rb')
            for file in (self.target, self.journal)
            if file.exists()
        }
        try:
            for record in self.records.values():
                handle = handles[record.file]
                handle.seek(record.offset)
                line = handle.readline()
                if record.file == self.journal:
                    (content,) = json.loads(line)['images']
                    line = json.dumps(content).encode()
                yield line.rstrip(b',\n')
        finally:
            for handle in handles.values():
                handle.close()

    def _write(self, texts: Iterable[bytes]) -> list[int]:
        """Write ``segments.json``, a line for each image; return offsets."""
        partial = self.target.with_name(f'segments.{os.getpid()}.partial')
        offsets = []
        try:
            with partial.open('wb') as file:
                head = json.dumps(dict(classes=self.classes, images=[]))
                file.write(head.removesuffix(']}').encode())
                for text in texts:
                    file.write(b',\n' if offsets else b'\n')
                    offsets.append(file.tell())
                    file.write(text)
                file.write(b'\n]}\n')
            os.replace(partial, self.target)
        finally:
            partial.unlink(missing_ok=True)
        return offsets

    def _use_lines(self) -> None:
        """Give ``segments.json`` a line for each image, if it has not."""
        if not self.target.exists():
            return
        with self.target.open('rb') as file:
            if file.readline().endswith(b'"images": [\n'):
                return
        records = self._records_of(self.target, self.target.read_bytes())
        self._write(json.dumps(record).encode() for record in records)

    def _read(self, path: Path) -> Iterator[tuple[int, dict]]:
        """Yield the images of a file, and where their lines begin."""
        if not path.exists():
            return
        with path.open('rb') as file:
            if path == self.target:
                head = file.readline()
                self._records_of(path, head + b']}')
            while True:
                offset = file.tell()
                line = file.readline()
                if not line.endswith(b'\n') or line == b']}\n':
                    return  # the end, or the process was killed in the line
                if path == self.target:
                    line = head + line.rstrip(b',\n') + b']}'
                for record in self._records_of(path, line):
                    yield offset, record

    def _records_of(self, path: Path, text: bytes) -> list[dict]:
        """Return the images of a JSON that this class wrote."""
        try:
            content = json.loads(text)
            classes, records = content['classes'], content['images']
            own = all(
                os.path.basename(file) == file
                for record in records
                for file in (
                    os.path.basename(record['file']),
                    *record.get('drawings', {}).values(),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            own = False
        if not own:
            raise InputError(
                f'{path} is no result of infer.py: choose another --out-dir, '
                'or move the file away.'
            )
        if classes != self.classes:
            raise InputError(
                f'{path} has results for the classes {classes[:5]} ... '
                f'({len(classes)}), the config has {self.classes[:5]} ... '
                f'({len(self.classes)}): choose another --out-dir.'
            )
        return records
