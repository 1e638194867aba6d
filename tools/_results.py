"""The result folder of ``infer.py``: drawings, and one JSON of segments.

Every image is on disk as soon as it is done: a line for it is added to
``segments.partial.jsonl``. ``segments.json`` is written at the end, also of a
run that stops early. A run that is killed leaves the lines, which the next
run in the folder reads.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from projects.oneformer.file_writing import write_json, write_png


class ResultFolder:
    """Results of images, added to those that the folder holds.

    An image that it holds already, by its path, gets its new results in place
    of all its old ones. Drawings are named after the file of the image; if
    the name belongs to another image, ``_2``, ``_3``, ... is appended.

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
        self.records: dict[str, dict] = {}  # by absolute path
        self._owners: dict[str, str] = {}  # name of drawings: absolute path
        for record in (*self._read_target(), *self._read_journal()):
            path = os.path.abspath(record['file'])
            self.records[path] = record
            for task, file in record.get('drawings', {}).items():
                name = file.removesuffix(f'_{task}.png').casefold()
                self._owners[name] = path
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
        key = os.path.abspath(path)
        name = self._name(path.stem, key)
        files = {task: f'{name}_{task}.png' for task in drawings}
        for task, drawing in drawings.items():
            write_png(str(self.folder / files[task]), drawing)
        record = dict(file=str(path), drawings=files, **record)
        line = json.dumps(self._content([record]))
        with self.journal.open('a', encoding='utf-8') as lines:
            lines.write(f'{line}\n')
        old = self.records.get(key, {}).get('drawings', {})
        for file in set(old.values()) - set(files.values()):
            (self.folder / file).unlink(missing_ok=True)
        self.records[key] = record

    def close(self) -> None:
        """Write ``segments.json``."""
        write_json(
            str(self.target), self._content(list(self.records.values()))
        )
        self.journal.unlink(missing_ok=True)

    def _content(self, records: list[dict]) -> dict:
        return dict(classes=self.classes, images=records)

    def _name(self, stem: str, path: str) -> str:
        """Return the name of the drawings of an image, which then has it."""
        name, number = stem, 1
        # Some file systems take upper and lower case for one.
        while self._owners.setdefault(name.casefold(), path) != path:
            number += 1
            name = f'{stem}_{number}'
        return name

    def _read_target(self) -> Iterator[dict]:
        if self.target.exists():
            yield from self._records_of(self.target, self.target.read_bytes())

    def _read_journal(self) -> Iterator[dict]:
        if self.journal.exists():
            for line in self.journal.read_bytes().splitlines(keepends=True):
                if line.endswith(b'\n'):  # else the process was killed in it
                    yield from self._records_of(self.journal, line)

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
            raise ValueError(
                f'{path} is no result of infer.py: choose another --out-dir, '
                'or move the file away.'
            )
        if classes != self.classes:
            raise ValueError(
                f'{path} has results for the classes {classes[:5]} ... '
                f'({len(classes)}), the config has {self.classes[:5]} ... '
                f'({len(self.classes)}): choose another --out-dir.'
            )
        return records
