"""Files that the tests of the dataset converters write and read."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_png(path: Path, values: list, kind: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, kind)).save(path)


def read_png(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def read_ids(path: Path) -> list:
    red, green, blue = np.moveaxis(read_png(path).astype(int), -1, 0)
    return (red + 256 * green + 65536 * blue).tolist()


def as_rgb(ids: list) -> np.ndarray:
    """A panoptic PNG of ids."""
    numbers = np.array(ids)
    return np.stack(
        [numbers % 256, numbers // 256 % 256, numbers // 65536], -1
    ).astype(np.uint8)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }
