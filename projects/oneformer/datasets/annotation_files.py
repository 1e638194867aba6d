"""Read the files of annotations from any file backend, with clear errors."""

import os.path as osp
from typing import Any

import numpy as np
from mmengine.fileio import get

from .annotation_png import decode_label_map
from .coco_layout import parse_json


def read_file(
    path: str, what: str, settings: str, backend_args: dict | None = None
) -> bytes:
    """Return what the file of an annotation holds.

    Args:
        path (str): The file.
        what (str): What to call it in messages.
        settings (str): The settings to check where it does not exist.
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read.
    """
    if osp.exists(path) and not osp.isfile(path):
        # To read from a pipe may not end.
        raise ValueError(f'{what} {path!r} cannot be read: it is no file.')
    try:
        return get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{what} {path} does not exist: check {settings}.'
        ) from error
    except OSError as error:  # without permission, or a name too long
        raise ValueError(
            f'{what} {path!r} cannot be read: {error}.'
        ) from error


def read_json(
    path: str, settings: str, backend_args: dict | None = None
) -> Any:
    """Return what an annotation file holds.

    The arguments are those of :func:`read_file`.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read as JSON.
    """
    content = read_file(path, 'Annotation file', settings, backend_args)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(
            f'Annotation file {path!r} cannot be read as JSON: {error}. Check '
            f'{settings}, or restore the file.'
        ) from error


def read_label_map(
    path: str, settings: str, backend_args: dict | None = None
) -> np.ndarray:
    """Return the values of a label map, np.int32 (H, W).

    Those of a palette are its indices. The file is a PNG, or of another
    format that keeps values. The arguments are those of :func:`read_file`.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged, or an image of colours.
    """
    content = read_file(path, 'Label map', settings, backend_args)
    try:
        png = decode_label_map(content)
    except ValueError as error:
        raise unreadable(path, error) from error
    if not png.is_label_map:
        raise ValueError(
            f'{path} is {png}: expected one value per pixel, the label of '
            'its class, not colours.'
        )
    return png.values.astype(np.int32)


def unreadable(path: str, reason: object) -> ValueError:
    """Return the error of a PNG that cannot be read."""
    return ValueError(
        f'{path} cannot be read as a PNG: {reason}. Restore the file.'
    )
