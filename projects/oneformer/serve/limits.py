"""What visitors may upload, and reading it."""

import os
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple

import numpy as np

from ..images import ImageNotFoundError, ImageTooLargeError, decode_image
from .scaling import fit, resize_image


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        max_bytes (int): Of an uploaded file.
        max_pixels (int): Of an image or a frame, checked before it is decoded.
        max_side (int): A larger image is reduced to this longer side before
            it is segmented; files for download have the size of the upload.
        max_images (int): Images of a folder.
        max_frames (int): Frames of a video.
        max_queue (int): Requests that wait. Further ones get an error.
        max_sessions (int): Visitors whose last result is held. That of the
            visitor who was away longest is dropped first.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    max_side: int = 2048
    max_images: int = 200
    max_frames: int = 300
    max_queue: int = 64
    max_sessions: int = 64


class Upload(NamedTuple):
    """An image that was read.

    Attributes:
        name (str): Name of the file, without folder.
        pixels (np.ndarray): RGB uint8 (H, W, 3), maybe reduced.
        size (tuple[int, int]): Height and width before.
    """

    name: str
    pixels: np.ndarray
    size: tuple[int, int]


def read_upload(path: str | PathLike, limits: Limits) -> Upload:
    """Read an uploaded image.

    Raises:
        ImageError: If it is gone, too large, or cannot be read. The message
            has the name of the file, but not the folder in which the server
            put it.
    """
    name = os.path.basename(path)
    if not os.path.isfile(path):  # the page removes files after a while
        raise ImageNotFoundError(
            f'Image {name} is no longer on the server: choose it again.'
        )
    size = os.path.getsize(path)
    if size > limits.max_bytes:
        raise ImageTooLargeError(
            f'Image {name} has {size / 1e6:.1f} MB, and this page accepts '
            f'{limits.max_bytes / 1e6:g}: save it smaller.'
        )
    with open(path, 'rb') as file:
        content = file.read()
    try:
        image = decode_image(content, name, limits.max_pixels)[..., ::-1]
    except ImageTooLargeError as error:
        raise ImageTooLargeError(
            f'Image {name} has more than {limits.max_pixels / 1e6:g} '
            'megapixels, which this page does not accept: save it smaller.'
        ) from error
    height, width = image.shape[:2]
    reduced = resize_image(image, fit((height, width), limits.max_side))
    return Upload(name, np.ascontiguousarray(reduced), (height, width))
