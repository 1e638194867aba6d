"""The result folder of ``infer.py``: drawings, and one JSON of segments.

Every image is on disk as soon as it is done: a line for it is added to
``segments.partial.jsonl``. ``segments.json`` is written at the end, also of a
run that stops early. A run that is killed leaves the lines, which the next
run in the folder reads.

Before its drawings are written, an image gets a line with their names. So the
next run knows which files of a killed one to remove, and files that are not
ours are never replaced or removed.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        self._drawings: set[str] = set()  # files that are ours
        self._inputs: set[str] = set()  # absolute paths, without links
        self._use_lines()
        for file in (self.target, self.journal):
            for offset, record in self._read(file):
                self._note(record, file, offset)
        if self.journal.exists():
            self._drawings.update(self._begun())
            self.close()

    def check(
        self,
        inputs: Iterable[str],
        endings: Mapping[str, str],
        tasks: Iterable[str],
    ) -> None:
        """Check that a run will not replace files that are not its own.

        Args:
            inputs (Iterable[str]): All images and videos of the run.
            endings (Mapping[str, str]): Those of them that will be drawn, in
                this order, with the ending of their drawings.
            tasks (Iterable[str]): A drawing is made for each.

        Raises:
            InputError: If a file has the name of a drawing and is an input,
                or not of an earlier run.
        """
        self._inputs = set(map(os.path.realpath, inputs))
        owners = dict(self._owners)
        for path, ending in endings.items():
            self._files_of(Path(path), tasks, ending, owners)

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
        files = self.begin(path, drawings)
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
            files (dict[str, str]): What :meth:`begin` returned.
        """
        record = dict(file=str(path), drawings=files, **record)
        old = self.records.get(os.path.abspath(path))
        offset = self._add_line(images=[record])
        self._note(record, self.journal, offset)
        if old:
            self._remove(set(old.drawings.values()) - set(files.values()))

    def close(self) -> None:
        """Write ``segments.json``; remove drawings of unfinished images."""
        listed = {
            file
            for record in self.records.values()
            for file in record.drawings.values()
        }
        self._remove(self._drawings - listed)
        self.folder.mkdir(parents=True, exist_ok=True)
        offsets = self._write(self._texts())
        for (key, record), offset in zip(
            self.records.items(), offsets, strict=True
        ):
            place = record._replace(file=self.target, offset=offset)
            self.records[key] = place
        self.journal.unlink(missing_ok=True)

    def begin(
        self, path: Path, tasks: Iterable[str], ending: str = '.png'
    ) -> dict[str, str]:
        """Return the names of the drawings of an image, which then has them.

        Args:
            path (Path): The image or video.
            tasks (Iterable[str]): A drawing is made for each.
            ending (str): Of their names.

        Raises:
            InputError: As of :meth:`check`.
        """
        files = self._files_of(path, tasks, ending, self._owners)
        self._add_line(images=[], begun=list(files.values()))
        self._drawings.update(files.values())
        return files

    def _files_of(
        self,
        path: Path,
        tasks: Iterable[str],
        ending: str,
        owners: dict[str, str],
    ) -> dict[str, str]:
        """Return the names of drawings by task; ``owners`` get a new one."""
        name, number = path.stem, 1
        owner = os.path.abspath(path)
        # Some file systems take upper and lower case for one.
        while owners.setdefault(name.casefold(), owner) != owner:
            number += 1
            name = f'{path.stem}_{number}'
        files = {task: f'{name}_{task}{ending}' for task in tasks}
        for file in files.values():
            self._check_file(file)
        return files

    def _check_file(self, name: str) -> None:
        """Raise InputError if a drawing would replace another file."""
        file = self.folder / name
        if not os.path.lexists(file):
            return
        if os.path.realpath(file) in self._inputs:
            problem = 'is an input of this run'
        elif name not in self._drawings:
            problem = f'is no drawing that {self.target.name} lists'
        else:
            return
        raise InputError(
            f'{file} {problem}, and a drawing would replace it: choose '
            'another --out-dir, or move the file away.'
        )

    def _begun(self) -> Iterator[str]:
        """Yield the drawings that a killed run began."""
        with self.journal.open('rb') as lines:
            for line in lines:
                if line.endswith(b'\n'):  # else the process was killed in it
                    yield from json.loads(line).get('begun', ())

    def _remove(self, files: set[str]) -> None:
        """Remove drawings, but no input of this run."""
        for file in files:
            path = self.folder / file
            if os.path.realpath(path) not in self._inputs:
                path.unlink(missing_ok=True)
        self._drawings -= files

    def _add_line(self, **content) -> int:
        """Add a line to the journal, and return where it begins."""
        line = json.dumps(dict(classes=self.classes, **content))
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.journal.open('ab') as lines:
            offset = lines.seek(0, os.SEEK_END)
            lines.write(f'{line}\n'.encode())
        return offset

    def _note(self, record: dict, file: Path, offset: int) -> None:
        path = os.path.abspath(record['file'])
        drawings = record.get('drawings', {})
        self.records[path] = Record(drawings, file, offset)
        self._drawings.update(drawings.values())
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
            files = list(content.get('begun', ()))
            for record in records:
                files.append(os.path.basename(record['file']))
                files += record.get('drawings', {}).values()
            own = all(os.path.basename(file) == file for file in files)
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
