"""Read the files of annotations from any file backend, with clear errors."""

import os.path as osp

import numpy as np
from mmengine.fileio import get

from ..annotation_png import decode_label_map


def read_file(
    path: str, backend_args: dict | None, what: str, settings: str
) -> bytes:
    """Return what the file of an annotation holds.

    Args:
        path (str): The file.
        backend_args (dict, optional): File backend of mmengine.
        what (str): What to call it in messages.
        settings (str): The settings to check where it does not exist.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read.
    """
    if osp.exists(path) and not osp.isfile(path):
        # To read from a pipe may not end.
        raise unreadable(path, 'it is no file')
    try:
        return get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{what} {path} does not exist: check {settings}.'
        ) from error
    except OSError as error:  # without permission, or a name too long
        raise unreadable(path, error.strerror or error) from error


def read_label_map(
    path: str, backend_args: dict | None, settings: str
) -> np.ndarray:
    """Return the values of a label map, np.int32 (H, W).

    Those of a palette are its indices.

    Args:
        path (str): A PNG, or another format that keeps values.
        backend_args (dict, optional): File backend of mmengine.
        settings (str): The settings to check where it does not exist.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged, or an image of colours.
    """
    content = read_file(path, backend_args, 'Label map', settings)
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
