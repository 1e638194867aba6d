"""Files of annotations, JSON and PNG, for all tools that read or write them.

Nothing here needs torch. What is written appears under its name when all of
it is there.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _package import annotation_png, coco_layout, segment_ids
from PIL import Image
from pycocotools import mask as coco_mask

Png, READ_ERRORS = annotation_png.Png, annotation_png.READ_ERRORS

# ------------------------------------------------------------------- JSON


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, or is no JSON.
    """
    return coco_layout.parse_json(read_file(path))


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file in one go."""
    with replaced(path) as part, part.open('w', encoding='utf-8') as stream:
        json.dump(content, stream)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a name to write to, and give it ``path``'s when all is done."""
    # One name per file: a leftover of a killed run is written over.
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f'No space is left to write {path}: free some, and give the same '
            'command again, it goes on where it stopped.'
        ) from error
    finally:
        part.unlink(missing_ok=True)


# -------------------------------------------------------------------- PNG


def read_png(path: Path) -> Png:
    """Read a PNG without any conversion.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or no PNG.
    """
    return annotation_png.decode_png(read_file(path))


def read_label_map(path: Path) -> Png:
    """Read a PNG, or another format that keeps values, as it is.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged, or of a format that changes values.
    """
    return annotation_png.decode_label_map(read_file(path))


def read_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError('it is no file')  # to read from a pipe may not end
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # without permission, or a name too long
        raise ValueError(error.strerror or str(error)) from error


def write_png(path: Path, array: np.ndarray) -> None:
    """Write grey values or RGB, np.uint8, in one go."""
    with replaced(path) as part:
        Image.fromarray(array).save(part, format='PNG')


def write_ids(path: Path, ids: np.ndarray) -> None:
    """Write segment ids (H, W), below 2^24, as a panoptic PNG."""
    write_png(path, segment_ids.encode_ids(ids))


# --------------------------------------------------------------- segments


class Measure(NamedTuple):
    """Area in pixels, and box as left, top, width, height, of a segment."""

    area: int
    bbox: list[int]


def measure(ids: np.ndarray) -> dict[int, Measure]:
    """Return area and box of every id in a map (H, W), by rising id."""
    from scipy import ndimage  # not for --help

    numbers, places, areas = np.unique(
        ids, return_inverse=True, return_counts=True
    )
    boxes = ndimage.find_objects(places.reshape(ids.shape) + 1)
    return {
        int(number): Measure(
            int(area),
            [
                columns.start,
                rows.start,
                columns.stop - columns.start,
                rows.stop - rows.start,
            ],
        )
        for number, area, (rows, columns) in zip(
            numbers, areas, boxes, strict=True
        )
    }


def instance_of(mask: np.ndarray) -> dict[str, Any]:
    """Return what COCO stores of a mask (H, W) beside its class."""
    rle = run_lengths(mask)
    return dict(
        iscrowd=0,
        area=int(coco_mask.area(rle)),
        bbox=[round(value) for value in coco_mask.toBbox(rle)],
        segmentation=rle,
    )


def run_lengths(mask: np.ndarray) -> dict:
    """Return COCO run lengths of a mask (H, W), with text JSON can hold."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
