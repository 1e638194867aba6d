"""Convert brush masks that Label Studio exports as PNG to COCO instances.

    python tools/dataset_converters/label_studio.py my_export my_export_coco

reads ``task-TASK-annotation-ANNOTATION-by-PERSON-NAME-LABEL-NUMBER.png``, a
mask of one region each, and writes ``instances.json`` into the new folder.
The folder must also have the images and the export as JSON, which names the
image of each task. Without that JSON, the image of task 12 must be 12.jpg.

Polygons need no converter: export them as COCO.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import instance_of, write_json  # noqa: E402
from _common import (  # noqa: E402
    Run,
    convert_folder,
    read_json,
    read_png,
    read_size,
    run_command,
)
from _package import file_names  # noqa: E402

MASK = re.compile(
    r'task-(\d+)-annotation-(\d+)-by-[^-]*-[^-]+-(.+)-(\d+)\.png'
)


class Mask(NamedTuple):
    """A file of a region."""

    path: Path
    task: int
    annotation: int
    label: str
    number: int


def is_here(names: Sequence[str]) -> bool:
    """Whether a folder has brush masks."""
    return any(MASK.fullmatch(PurePosixPath(name).name) for name in names)


def convert(folder: Path, target: Path, run: Run) -> None:
    """Write ``instances.json`` of the masks below a folder.

    Args:
        folder (Path): Of masks and images.
        target (Path): Folder to write to.
        run (Run): Not used, as this takes seconds.

    Raises:
        FileNotFoundError: If the image of a task is missing.
        ValueError: If a mask has another size than its image.
    """
    names = file_names.list_files(folder)
    by_task: dict[int, list[Mask]] = {}
    for mask in sorted(find_masks(folder, names), key=lambda m: m[1:]):
        by_task.setdefault(mask.task, []).append(mask)
    image_paths = images_by_name(names)
    tasks = dict(tasks_of(folder, names))
    images, annotations = [], []
    labels: dict[str, int] = {}
    for task, masks in sorted(by_task.items()):
        image = find_image(task, tasks, image_paths, folder)
        height, width = read_size(folder / image)
        images.append(
            dict(id=task, file_name=image, height=height, width=width)
        )
        last = max(mask.annotation for mask in masks)
        for mask in masks:
            if mask.annotation != last:
                continue  # of another person, or an earlier one
            region = read_mask(mask.path, (height, width))
            if not region.any():
                continue  # painted, and erased again
            category = labels.setdefault(mask.label, len(labels) + 1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=task,
                    category_id=category,
                    **instance_of(region),
                )
            )
    categories = [dict(id=i, name=name) for name, i in labels.items()]
    write_json(
        target / 'instances.json',
        dict(images=images, annotations=annotations, categories=categories),
    )


def find_masks(folder: Path, names: Sequence[str]) -> Iterator[Mask]:
    """Yield the masks among some files."""
    for name in names:
        found = MASK.fullmatch(PurePosixPath(name).name)
        if found:
            task, annotation, label, number = found.groups()
            yield Mask(
                folder / name, int(task), int(annotation), label, int(number)
            )


def images_by_name(names: Sequence[str]) -> dict[str, str]:
    """Return the images among some files by the name of the file."""
    paths = [PurePosixPath(name) for name in names]
    counts = Counter(path.name for path in paths)
    return {
        path.name: str(path)
        for path in paths
        if file_names.image_stem(path.name) is not None
        and not MASK.fullmatch(path.name)
        and counts[path.name] == 1
    }


def tasks_of(
    folder: Path, names: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each task, and the file names of its data."""
    for name in names:
        if not name.lower().endswith('.json'):
            continue
        content = read_json(folder / name)
        for task in content if isinstance(content, list) else []:
            if isinstance(task, dict) and type(task.get('id')) is int:
                data = task.get('data')
                values = (data if isinstance(data, dict) else task).values()
                yield (
                    task['id'],
                    [
                        re.split(r'[/\\=]', unquote(value))[-1]
                        for value in values
                        if isinstance(value, str)
                    ],
                )


def find_image(
    task: int,
    tasks: dict[int, list[str]],
    image_paths: dict[str, str],
    folder: Path,
) -> str:
    """Return the image of a task, relative to the folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in tasks.get(task, ()):
        if name in image_paths:
            return image_paths[name]
    for name, path in image_paths.items():
        if file_names.image_stem(name) == str(task):
            return path
    raise FileNotFoundError(
        f'No image of task {task} is in {folder}: expected the export as JSON '
        'there, which names it, and the image itself.'
    )


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a mask, bool (H, W).

    Raises:
        ValueError: If it has another size.
    """
    pixels = read_png(path)
    if pixels.ndim == 3:
        # Transparent where nothing is painted, or black.
        pixels = pixels[..., 3 if pixels.shape[2] == 4 else 0]
    if pixels.shape != size:
        raise ValueError(
            f'{path} has shape {pixels.shape}: expected the size of its '
            f'image, {size} (height, width).'
        )
    return pixels > 0


def main() -> None:
    """Convert a folder."""
    convert_folder(
        convert,
        'Convert brush masks of Label Studio to COCO instances.',
        'python tools/dataset_converters/label_studio.py my_export '
        'my_export_coco',
    )


if __name__ == '__main__':
    run_command(main)
