"""Files that are written at once: whole, or not there."""

import json
import os
import os.path as osp

import cv2
import numpy as np


def write_file(path: str, content: bytes) -> None:
    """Write a file at once: readers see the old one or the whole new one."""
    os.makedirs(osp.dirname(path) or '.', exist_ok=True)
    partial = f'{path}.{os.getpid()}.partial'
    try:
        with open(partial, 'wb') as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        if osp.exists(partial):
            os.remove(partial)
        raise


def write_json(path: str, content: dict | list) -> None:
    """Write JSON at once."""
    write_file(path, json.dumps(content).encode())


def write_png(path: str, pixels: np.ndarray) -> None:
    """Write a PNG at once.

    Args:
        path (str): Where to.
        pixels (np.ndarray): Booleans (one bit per pixel) or np.uint8 or
            np.uint16, (H, W), or RGB, np.uint8 (H, W, 3).
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # far faster, little larger
    if pixels.dtype == bool:
        options += [cv2.IMWRITE_PNG_BILEVEL, 1]
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    _, content = cv2.imencode('.png', pixels, options)
    write_file(path, content.tobytes())
