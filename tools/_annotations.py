"""Files of annotations, JSON and PNG, for all tools that read or write them.

Nothing here needs torch. What is written appears under its name when all of
it is there.
"""

import errno
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _package import coco_layout, segment_ids
from PIL import Image
from pycocotools import mask as coco_mask

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_TYPES = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey-alpha', 6: 'RGBA'}
# What Pillow raises on damaged files.
READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# ------------------------------------------------------------------- JSON


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it cannot be opened.
        ValueError: If it is no JSON.
    """
    return coco_layout.parse_json(path.read_bytes())


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


class Png(NamedTuple):
    """A PNG, read as it is.

    Attributes:
        kind (str): A value of ``PNG_TYPES``.
        bits (int): Bits per channel.
        values (np.ndarray): Grey values or palette indices, (H, W), or
            channels, (H, W, C), as they are stored.
        palette (np.ndarray | None): RGB colours, uint8 (N, 3).
    """

    kind: str
    bits: int
    values: np.ndarray
    palette: np.ndarray | None

    def __str__(self) -> str:
        return f'{self.kind} with {self.bits} bits'

    @property
    def pixels(self) -> np.ndarray:
        """Values or channels; of a palette its colours."""
        return self.values if self.palette is None else self.colors

    @property
    def colors(self) -> np.ndarray:
        """Colours of a palette, uint8 (H, W, 3)."""
        return self.palette[self.values]


def read_png(path: Path) -> Png:
    """Read a PNG without any conversion.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or no PNG.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # a folder, or without permission
        raise ValueError(error.strerror or str(error)) from error
    if not content.startswith(PNG_SIGNATURE) or len(content) < 26:
        raise ValueError('it does not begin as a PNG does')
    bits, kind = content[24], PNG_TYPES.get(content[25], 'unknown')
    try:
        with Image.open(BytesIO(content)) as image:
            image.verify()  # check sums, which reading passes over
        with Image.open(BytesIO(content)) as image:
            palette = image.getpalette('RGB') if kind == 'palette' else None
            values = np.asarray(image)
    except READ_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if bits == 16 and kind != 'grey':
        values = _read_deep(path)
    if palette is not None:
        palette = np.array(palette, np.uint8).reshape(-1, 3)
    return Png(kind, bits, values, palette)


def _read_deep(path: Path) -> np.ndarray:
    """Read 16 bits per channel, of which Pillow would keep 8."""
    import cv2

    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # (H, W, C), BGR
    return values[..., [2, 1, 0, *range(3, values.shape[-1])]]


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


def run_lengths(mask: np.ndarray) -> dict:
    """Return COCO run lengths of a mask (H, W), with text JSON can hold."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
