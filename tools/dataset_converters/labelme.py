"""Convert LabelMe's JSON files, one for each image, to COCO instances.

    python tools/dataset_converters/labelme.py my_data my_data_coco

reads every JSON below the folder that has ``shapes`` and ``imagePath``, and
writes ``instances.json`` into the new folder. Names of images in it are
relative to the folder of the data.

Polygons, rectangles, circles and masks become instances; shapes of one label
and ``group_id`` are one object. Points and lines have no area and are left
out, with a count.
"""

import base64
import io
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import instance_of, write_json  # noqa: E402
from _common import (  # noqa: E402
    Run,
    convert_folder,
    read_json,
    read_size,
    run_command,
)
from _package import coco_masks, file_names  # noqa: E402
from PIL import Image  # noqa: E402

CIRCLE_CORNERS = 64
WITHOUT_AREA = ('point', 'points', 'line', 'linestrip')


def is_here(names: Sequence[str]) -> bool:
    """Whether most images have a JSON of their own name."""
    jsons = {name[:-5] for name in names if name.lower().endswith('.json')}
    images = {file_names.image_stem(name) for name in names} - {None}
    return bool(images) and len(images & jsons) * 2 > len(images)


def convert(folder: Path, target: Path, run: Run) -> None:
    """Write ``instances.json`` of the JSON files below a folder.

    Args:
        folder (Path): Of images and JSON files.
        target (Path): Folder to write to.
        run (Run): Not used, as this takes seconds.

    Raises:
        FileNotFoundError: If there are none, or an image is missing.
        ValueError: If a shape cannot be drawn.
    """
    images, annotations, left_out = [], [], Counter()
    labels: dict[str, int] = {}
    for name in file_names.list_files(folder):
        if not name.lower().endswith('.json'):
            continue
        content = read_json(folder / name)
        if not isinstance(content, dict) or 'shapes' not in content:
            continue
        path = image_of(folder / name, content)
        height, width = read_size(path)
        number = len(images) + 1
        images.append(
            dict(
                id=number,
                file_name=path.relative_to(folder).as_posix(),
                height=height,
                width=width,
            )
        )
        for label, parts in objects_of(content, left_out).items():
            mask = draw(parts, (height, width), folder / name)
            category = labels.setdefault(label[0], len(labels) + 1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=category,
                    **instance_of(mask),
                )
            )
    if not images:
        raise FileNotFoundError(
            f'{folder} has no JSON of LabelMe: expected one with "shapes" '
            'and "imagePath" for each image.'
        )
    for kind, count in left_out.items():
        print(f'{count} shapes of type {kind} have no area and are left out')
    categories = [dict(id=i, name=name) for name, i in labels.items()]
    write_json(
        target / 'instances.json',
        dict(images=images, annotations=annotations, categories=categories),
    )


def image_of(path: Path, content: dict) -> Path:
    """Return the image that a JSON is about."""
    # A JSON of Windows names folders with backslashes.
    name = str(content.get('imagePath', '')).replace('\\', '/')
    for image in (path.parent / name, path.parent / Path(name).name):
        if name and image.is_file():
            return Path(*_normal(image).parts)
    raise FileNotFoundError(
        f'{path} names the image {name!r}, which is not beside it: copy the '
        'images there.'
    )


def _normal(path: Path) -> Path:
    """Return a path without ``..``, links as they are."""
    parts: list[str] = []
    for part in path.parts:
        if part == '..':
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def objects_of(content: dict, left_out: Counter) -> dict[tuple, list[dict]]:
    """Return the shapes of each object, by label and group."""
    objects: dict[tuple, list[dict]] = {}
    for place, shape in enumerate(content['shapes']):
        kind = shape.get('shape_type') or 'polygon'
        if kind in WITHOUT_AREA:
            left_out[kind] += 1
            continue
        group = shape.get('group_id')
        key = ('alone', place) if group is None else ('group', group)
        objects.setdefault((str(shape['label']), *key), []).append(shape)
    return objects


def draw(shapes: list[dict], size: tuple[int, int], path: Path) -> np.ndarray:
    """Return the union of some shapes, bool (H, W)."""
    mask = np.zeros(size, bool)
    for shape in shapes:
        try:
            mask |= draw_shape(shape, size)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path} has a shape {shape.get("label")!r} of type '
                f'{shape.get("shape_type")!r} that cannot be drawn: {error}. '
                'Mend or remove it.'
            ) from error
    return mask


def draw_shape(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return the mask of one shape."""
    points, kind = shape['points'], shape.get('shape_type') or 'polygon'
    if kind == 'mask':
        return draw_bitmap(shape, size)
    if kind == 'rectangle':
        (left, top), (right, bottom) = points
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == 'circle':
        center, edge = points
        radius = math.dist(center, edge)
        angles = np.linspace(0, 2 * math.pi, CIRCLE_CORNERS, endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = np.asarray(center) + radius * points
    elif kind not in ('polygon', 'oriented_rectangle'):
        raise ValueError('this type is not known here')
    outline = [float(value) for point in points for value in point]
    return coco_masks.draw_mask([outline], size)


def draw_bitmap(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a shape that holds a PNG of its box."""
    with Image.open(io.BytesIO(base64.b64decode(shape['mask']))) as png:
        bitmap = np.asarray(png) > 0
    left, top = (round(value) for value in shape['points'][0])
    mask = np.zeros(size, bool)
    target = mask[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    target |= bitmap[: target.shape[0], : target.shape[1]]
    return mask


def main() -> None:
    """Convert a folder."""
    convert_folder(
        convert,
        'Convert JSON files of LabelMe to COCO instances.',
        'python tools/dataset_converters/labelme.py my_data my_data_coco',
    )


if __name__ == '__main__':
    run_command(main)
