"""The classes of a data set, and which of them are things."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _annotations import read_json
from _package import coco_layout, errors, tasks
from dataset_validation import AnnotationSet

# Files that list the classes of label maps, one a line, or as JSON.
LISTS = ('classes', 'class_names', 'labels', 'label_names', 'names')
ROBOFLOW_LIST = '_classes.csv'


class Labels(NamedTuple):
    """The classes, in the order of the model.

    Attributes:
        classes (tuple[str, ...]): All of them.
        things (tuple[str, ...]): Those that are things.
        why (str): Where they come from.
        reduce_zero_label (bool): In label maps 0 is unlabelled, and 1 the
            first class.
    """

    classes: tuple[str, ...]
    things: tuple[str, ...]
    why: str
    reduce_zero_label: bool = False


def read_entries(aset: AnnotationSet) -> coco_layout.Coco:
    """Read the JSON of a set.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If an entry of it cannot be used.
    """
    with errors.user_errors():
        content, _ = coco_layout.require_coco(
            read_json(aset.ann_file), aset.kind, str(aset.ann_file)
        )
    return content


def instance_labels(contents: Sequence[coco_layout.Coco]) -> Labels:
    """Return the categories that have instances, which are all things."""
    used = {a['category_id'] for c in contents for a in c.annotations}
    names, unused = _used_names(contents, used)
    why = 'the categories of the annotation, all of them things'
    return Labels(names, names, why + unused)


def panoptic_labels(
    contents: Sequence[coco_layout.Coco], things: Sequence[str] | None
) -> Labels:
    """Return the categories that have segments, and the things among them.

    Raises:
        ValueError: If ``isthing`` is missing and ``things`` is not given.
    """
    used = {
        segment['category_id']
        for content in contents
        for annotation in content.annotations
        for segment in annotation['segments_info']
    }
    names, unused = _used_names(contents, used)
    why = 'the categories of the annotation, things by isthing'
    flags = {
        category['name']: category.get('isthing')
        for content in contents
        for category in content.categories
    }
    if things is None:
        lacking = [name for name in names if flags[name] not in (0, 1)]
        if lacking:
            raise errors.InputError(
                f'The categories {lacking} lack isthing, 1 for things and 0 '
                'for stuff: name the things as --things, or add isthing.'
            )
        things = [name for name in names if flags[name] == 1]
    return Labels(names, _known(things, names), why + unused)


def semantic_labels(
    folder: Path,
    maps: Sequence[np.ndarray],
    classes: Sequence[str] | None,
    things: Sequence[str] | None,
) -> Labels:
    """Return the classes of label maps.

    Args:
        folder (Path): Of the data, where a list of the classes may be.
        maps (Sequence[np.ndarray]): Some of the maps.
        classes (Sequence[str], optional): Names of the values.
        things (Sequence[str], optional): Those that are things.

    Raises:
        ValueError: If the maps have values without a name.
    """
    values = np.unique(np.concatenate([np.unique(m) for m in maps])).tolist()
    names, why = classes, 'as you gave them'
    if names is None:
        names, why = listed_classes(folder)
    ignored = tasks.ignore_index(len(names) if names else 0)
    values = [value for value in values if value != ignored]
    if not values:
        raise errors.InputError(
            f'The label maps hold the value {ignored} alone, which is '
            'unlabelled: expected the number of a class in each pixel.'
        )
    if names is None:
        names = [f'class {value}' for value in range(max(values) + 1)]
        why = 'no list of names was found: rename them here, or give --classes'
    reduced = min(values) >= 0 and max(values) == len(names) and len(names) > 1
    if max(values) >= len(names) + reduced:
        raise errors.InputError(
            f'The label maps have values up to {max(values)}, but there are '
            f'{len(names)} names of classes, {list(names)}: expected a name '
            f'for each of 0 to {max(values)}; {ignored} is unlabelled.'
        )
    if reduced:
        why += '; 0 is unlabelled, as the values go one beyond the names'
    return Labels(
        tuple(names), _known(things or (), tuple(names)), why, reduced
    )


def listed_classes(folder: Path) -> tuple[list[str] | None, str]:
    """Return the names in a list that lies in a folder, and where.

    Raises:
        ValueError: If a list cannot be read.
    """
    for path in sorted(folder.rglob('*')):
        if path.name == ROBOFLOW_LIST:
            read = _read_csv
        elif path.stem.lower() in LISTS and path.suffix in READERS:
            read = READERS[path.suffix]
        else:
            continue
        try:
            names = read(path)
        except (IndexError, ValueError) as error:
            raise errors.InputError(
                f'The list of classes {path} cannot be read ({error}): save '
                'it as UTF-8, with the names as they stand in such a file, '
                'or give --classes.'
            ) from error
        if names is not None:
            return names, f'from {path.name}'
    return None, ''


def _read_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding='utf-8-sig').splitlines()
    return [line.strip() for line in lines if line.strip()]


def _read_json(path: Path) -> list[str] | None:
    """Read a list of names, or names by number; None if it is neither."""
    content = json.loads(path.read_text(encoding='utf-8-sig'))
    if isinstance(content, dict) and all(k.isdecimal() for k in content):
        content = [content[k] for k in sorted(content, key=int)]
    if isinstance(content, list) and all(isinstance(n, str) for n in content):
        return content
    return None


def _read_csv(path: Path) -> list[str]:
    """Read Roboflow's table of pixel values and classes."""
    with path.open(encoding='utf-8-sig', newline='') as file:
        rows = list(csv.reader(file, skipinitialspace=True))[1:]
    rows = sorted(filter(None, rows), key=lambda row: int(row[0]))
    return [row[1].strip() for row in rows]


READERS = {'.txt': _read_lines, '.json': _read_json}


def _used_names(
    contents: Sequence[coco_layout.Coco], used: set
) -> tuple[tuple[str, ...], str]:
    """Return names of categories in use, and a note on the others."""
    names, unused = {}, {}
    for content in contents:
        for category in content.categories:
            place = names if category['id'] in used else unused
            place[category['name']] = None
    rest = [name for name in unused if name not in names]
    if not names:
        raise errors.InputError(
            'The annotation has no objects: expected one image or more with '
            'annotations.'
        )
    note = f'; without {_some(rest)}, which no image shows' if rest else ''
    return tuple(names), note


def _some(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ', '.join(names)
    return f'{", ".join(names[:3])} and {len(names) - 3} more'


def _known(things: Sequence[str], classes: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in things if name not in classes]:
        raise errors.InputError(
            f'Expected classes of the data, {list(classes)}, as --things, got '
            f'{unknown}.'
        )
    return tuple(things)
