"""Three small images with each kind of annotation, all in memory."""

import copy
import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 48
CLASSES = ('sky', 'road', 'cat', 'dog')
THINGS = ('cat', 'dog')
KINDS = ('panoptic', 'instance', 'semantic')
TYPES = dict(
    panoptic='OneFormerPanopticDataset',
    instance='OneFormerInstanceDataset',
    semantic='OneFormerSemanticDataset',
)


class DrawnSet:
    """A data set that is valid, until it is changed.

    Attributes:
        kind (str): One of ``KINDS``.
        files (dict[str, bytes | None]): Content by path; a folder is None.
        links (dict[str, str]): Symbolic links, and where they lead.
        pipes (list[str]): Pipes in the place of files.
        content (dict | None): What the JSON holds.
        json (bytes | None): The JSON, where it is not ``content``.
        options (dict): Settings of the data set.
        pixels (dict[str, np.ndarray]): Ids or labels of the PNGs, (H, W).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        files, content, pixels = _drawn(kind)
        self.files: dict[str, bytes | None] = dict(files)
        self.links: dict[str, str] = {}
        self.pipes: list[str] = []
        self.content = copy.deepcopy(content)
        self.json: bytes | None = None
        self.pixels = {name: array.copy() for name, array in pixels.items()}
        self.options = _options(kind)

    def images(self) -> list[str]:
        """Return the paths of the images."""
        return [name for name in self.files if name.startswith('images/')]

    def maps(self) -> list[str]:
        """Return the paths of the PNGs."""
        return [name for name in self.files if name.startswith('maps/')]

    def write(self, folder: Path) -> None:
        """Write all files to a new folder."""
        files = dict(self.files)
        if self.content is not None:
            text = self.json
            if text is None:
                text = json.dumps(self.content).encode()
            files['set.json'] = text
        for name, data in files.items():
            with _room(folder / name) as path:
                path.mkdir() if data is None else path.write_bytes(data)
        for name, target in self.links.items():
            with _room(folder / name) as path:
                path.symlink_to(target)
        for name in self.pipes:
            with _room(folder / name) as path:
                os.mkfifo(path)


@contextmanager
def _room(path: Path) -> Iterator[Path]:
    """Yield a path to write to; where changes contradict the first holds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:  # a file, or a link to nothing, has the place of a folder
        path = path.with_name(f'{path.name}.without_room')
    with suppress(OSError):
        yield path


def _options(kind: str) -> dict:
    options = dict(data_prefix=dict(img='images/'), metainfo={})
    if kind != 'semantic':
        options['ann_file'] = 'set.json'
    else:
        options['metainfo'] = dict(classes=CLASSES, thing_classes=THINGS)
    if kind != 'instance':
        options['data_prefix']['seg'] = 'maps/'
    return options


@functools.cache
def _drawn(kind: str) -> tuple[dict, dict | None, dict]:
    """Return files, content of the JSON, and pixels of the PNGs."""
    rng = np.random.default_rng(0)
    files, pixels = {}, {}
    content = dict(
        images=[],
        annotations=[],
        categories=[
            dict(id=3 * i + 1, name=name, isthing=int(name in THINGS))
            for i, name in enumerate(CLASSES)
        ],
    )
    if kind == 'instance':
        content['categories'] = [
            dict(id=c['id'], name=c['name'])
            for c in content['categories']
            if c['isthing']
        ]
    for number in range(3):
        photo = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
        photo = photo.repeat(8, 0).repeat(8, 1)
        files[f'images/{number}.jpg'] = encoded(photo, 'JPEG')
        content['images'].append(
            dict(
                id=number + 10,
                file_name=f'{number}.jpg',
                height=HEIGHT,
                width=WIDTH,
            )
        )
        masks = _masks(number)
        if kind == 'panoptic':
            pixels[f'maps/{number}.png'] = _panoptic(content, number, masks)
        elif kind == 'instance':
            content['annotations'] += _instances(number, masks)
        else:
            labels = np.full((HEIGHT, WIDTH), 255)
            for label, _, mask in masks:
                labels[mask] = label
            pixels[f'maps/{number}.png'] = labels
    for name, values in pixels.items():
        files[name] = encoded(as_stored(kind, values))
    return files, None if kind == 'semantic' else content, pixels


def _masks(number: int) -> list[tuple[int, bool, np.ndarray]]:
    """Return label, whether it is a crowd, and mask of each segment."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    round_ = (row - 20) ** 2 + (column - 12 - 8 * number) ** 2 < 40
    return [
        (0, False, (row < 10 + number) & (row > 0)),
        (1, False, (row >= 10 + number) & (column < 40)),
        (2, False, round_),
        (3, number == 1, (row > 14) & (row < 22) & (column > 36)),
        (3, False, (row > 24) & (column > 36 + number)),
    ]


def _panoptic(content: dict, number: int, masks: list) -> np.ndarray:
    """Add an annotation, and return the ids of its PNG."""
    ids = np.zeros((HEIGHT, WIDTH), int)
    numbers = (7, 1000 + number, 70000, 3, 9)
    for own, (_, _, mask) in zip(numbers, masks, strict=True):
        ids[mask] = own
    content['annotations'].append(
        dict(
            image_id=number + 10,
            file_name=f'{number}.png',
            segments_info=[
                dict(
                    id=own,
                    category_id=3 * label + 1,
                    iscrowd=int(crowd),
                    area=int((ids == own).sum()),
                    bbox=box(ids == own),
                )
                for own, (label, crowd, _) in zip(numbers, masks, strict=True)
            ],
        )
    )
    return ids


def _instances(number: int, masks: list) -> list[dict]:
    """Return objects as polygons and both kinds of run lengths."""
    found = []
    for label, crowd, mask in masks:
        if label < 2:
            continue
        left, top, width, height = map(float, box(mask))
        right, bottom = left + width, top + height
        polygon = [left, top, right, top, right, bottom, left, bottom]
        flat = mask.ravel(order='F').astype(int)
        ends = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *ends, flat.size]).tolist()
        lengths = [0, *counts] if flat[0] else counts
        shape = dict(size=[HEIGHT, WIDTH], counts=lengths)
        if not crowd and len(found) % 3 == 1:
            shape, mask = [polygon], None
        area = width * height if mask is None else int(mask.sum())
        found.append(
            dict(
                id=10 * number + len(found),
                image_id=number + 10,
                category_id=3 * label + 1,
                iscrowd=int(crowd),
                segmentation=shape,
                area=area,
                bbox=[left, top, width, height],
            )
        )
    return found


def box(mask: np.ndarray) -> list[int]:
    """Return left, top, width and height of a mask."""
    rows, columns = np.nonzero(mask)
    left, top = columns.min(), rows.min()
    sides = columns.max() - left + 1, rows.max() - top + 1
    return [int(left), int(top), int(sides[0]), int(sides[1])]


def as_stored(kind: str, values: np.ndarray) -> np.ndarray:
    """Return ids as RGB, and labels in 8 or 16 bits."""
    if kind == 'panoptic':
        parts = [values & 255, values >> 8 & 255, values >> 16 & 255]
        return np.stack(parts, -1).astype(np.uint8)
    return values.astype(np.uint8 if values.max() < 256 else np.uint16)


def encoded(pixels: np.ndarray | Image.Image, form: str = 'PNG', **options):
    """Return the bytes of an image file."""
    image = pixels
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
