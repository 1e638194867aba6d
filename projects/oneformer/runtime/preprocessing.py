"""From an image to the input of an exported model, as the test pipeline."""

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..images import ImageError
from .description import Description


class NetworkInput(NamedTuple):
    """An image as a network reads it."""

    image: np.ndarray  # float32, (1, 3, H, W)
    resized: tuple[int, int]  # height and width without padding

    @property
    def padded(self) -> tuple[int, int]:
        """H and W."""
        return self.image.shape[2:]


def prepare(image: np.ndarray, description: Description) -> NetworkInput:
    """Resize, normalise and pad.

    Args:
        image (np.ndarray): np.uint8 (H, W, 3), BGR.
        description (Description): Of the model.

    Raises:
        ImageError: If resizing leaves nothing of a side.
    """
    return pad(normalise(resize(image, description), description), description)


def normalise(image: np.ndarray, description: Description) -> np.ndarray:
    """Return a resized image, np.uint8 (H, W, 3), as float32 (3, H, W)."""
    if description.channel_order == 'RGB':
        image = image[..., ::-1]
    pixels = image.transpose(2, 0, 1).astype(np.float32)
    mean, std = (
        np.array(values, np.float32)[:, None, None]
        for values in (description.mean, description.std)
    )
    return (pixels - mean) / std


def pad(pixels: np.ndarray, description: Description) -> NetworkInput:
    """Pad normalised pixels, (3, H, W), to a size that the network takes."""
    height, width = pixels.shape[1:]
    padded = description.size
    if padded is None:
        divisor = description.size_divisor
        padded = (
            -(-height // divisor) * divisor,
            -(-width // divisor) * divisor,
        )
    batch = np.zeros((1, 3, *padded), np.float32)
    batch[0, :, :height, :width] = pixels
    return NetworkInput(batch, (height, width))


def resize(image: np.ndarray, description: Description) -> np.ndarray:
    """Resize an image, np.uint8 (H, W, 3), as mmdet's ``Resize`` does."""
    height, width = image.shape[:2]
    size = new_size((width, height), description)
    if min(size) < 1:
        raise ImageError(
            f'An image of {width} x {height} pixels would become '
            f'{size[0]} x {size[1]}: it is too thin, pad it.'
        )
    if size == (width, height):
        return image
    if description.resize_backend == 'pillow':
        resized = Image.fromarray(image).resize(
            size, Image.Resampling.BILINEAR
        )
        return np.array(resized)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def new_size(
    size: tuple[int, int], description: Description
) -> tuple[int, int]:
    """Return width and height after resizing, of those before."""
    if description.scale is not None and not description.keep_ratio:
        return description.scale
    factors = [1.0]
    if description.scale is not None:
        long, short = max(description.scale), min(description.scale)
        factors = [long / max(size), short / min(size)]
    # Neither an image nor, in tiles, a part of it may be larger.
    if description.size is not None and description.tile is None:
        factors += [
            limit / side
            for limit, side in zip(description.size[::-1], size, strict=True)
        ]
    width, height = (int(side * min(factors) + 0.5) for side in size)
    return width, height
