"""Files of a result."""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ..file_writing import write_json, write_png
from ..results import SegmentationResult
from ..results.save import to_record


def write_files(
    result: SegmentationResult, opacity: float, folder: Path
) -> list[Path]:
    """Write a result in all formats that it has.

    Args:
        result (SegmentationResult): With its image, and of an image with a
            name.
        opacity (float): Of the colours of the drawings, 0 to 1.
        folder (Path): Where to.

    Returns:
        list[Path]: The files:

        - ``{name}_{task}.png``: drawings;
        - ``{name}_panoptic_coco.zip``: JSON and PNG of COCO panoptic;
        - ``{name}_instances_coco.json``: instances as COCO's;
        - those of :meth:`SegmentationResult.save` but for the drawings.
    """
    files = []
    for task in result.tasks:
        files.append(folder / f'{result.stem}_{task}.png')
        drawing = np.asarray(result.plot(task, opacity=opacity))
        write_png(str(files[-1]), drawing)
    if result.panoptic is not None:
        files.append(folder / f'{result.stem}_panoptic_coco.zip')
        files[-1].write_bytes(_panoptic_archive(result))
    if result.instances is not None:
        files.append(folder / f'{result.stem}_instances_coco.json')
        write_json(str(files[-1]), result.to_coco_instances())
    return files + replace(result, image=None).save(folder)


def _panoptic_archive(result: SegmentationResult) -> bytes:
    content, png = result.to_coco_panoptic()
    _, pixels = cv2.imencode('.png', png[..., ::-1])
    name = content['annotations'][0]['file_name']
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('panoptic.json', json.dumps(content))
        file.writestr(f'panoptic/{name}', pixels.tobytes())
    return archive.getvalue()


class Archive:
    """A zip file of the results of many images, written as they come.

    It has a line of JSON for each image, as of
    :meth:`SegmentationResult.save`, in ``segments.jsonl``, and a drawing for
    each image.

    Args:
        path (Path): Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = zipfile.ZipFile(path, 'w')
        self._lines: list[str] = []

    def add(self, result: SegmentationResult) -> None:
        """Add the JSON of a result."""
        self._lines.append(json.dumps(to_record(result)))

    def add_drawing(self, name: str, drawing: np.ndarray) -> None:
        """Add a drawing, RGB uint8, as ``name`` and .jpg."""
        _, content = cv2.imencode('.jpg', drawing[..., ::-1])
        self._file.writestr(f'{name}.jpg', content.tobytes())

    def add_files(self, paths: Iterable[Path]) -> None:
        """Add files under their names."""
        for path in paths:
            self._file.write(path, path.name)

    def close(self) -> None:
        """Complete the file."""
        lines = ''.join(f'{line}\n' for line in self._lines)
        self._file.writestr('segments.jsonl', lines)
        self._file.close()
