"""Images as the inferencer accepts them: files, arrays, tensors, videos."""

import os
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image as PillowImage

from .datasets.file_names import IMAGE_SUFFIXES, images_in, is_video
from .images import ImageError, convert_array, convert_image, printable
from .video import read_frames

Image = str | PathLike | PillowImage | np.ndarray | torch.Tensor
CHANNEL_ORDERS = ('bgr', 'rgb')


class Frame(NamedTuple):
    """A frame of a video, BGR whatever the order of arrays is."""

    pixels: np.ndarray


class NamedImage(NamedTuple):
    """An image as it is given to the model.

    Attributes:
        name (str | None): Path or address, if it has one.
        image (Image | Frame | ImageError): What to load, or why there is
            nothing.
    """

    name: str | None
    image: Image | Frame | ImageError


def check_kind(image: object) -> None:
    """Raise TypeError for what is no image."""
    if not isinstance(image, Image):
        raise TypeError(
            'Expected an array or a tensor (uint8), a path, an address or an '
            'image of Pillow, or several of them, got '
            f'{type(image).__name__}.'
        )


def check_images(images: object) -> None:
    """Check what can be checked before the first image is read.

    Args:
        images (object): Expected are an image, or several.

    Raises:
        TypeError: If it is neither, or a sequence with anything else.
    """
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        for image in images:
            check_kind(image)
    elif isinstance(images, bytes) or not isinstance(images, Image | Iterable):
        check_kind(images)


def list_images(images: Image | Iterable[Image]) -> Iterator[NamedImage]:
    """Yield the images of folders, videos and iterables one by one."""
    for image in [images] if isinstance(images, Image) else images:
        check_kind(image)
        if not isinstance(image, str | PathLike):
            name = getattr(image, 'filename', None) or None
            yield NamedImage(name and os.fsdecode(name), image)
            continue
        path = os.fsdecode(image)
        try:
            if os.path.isdir(path):
                for file in _images_of(path):
                    yield NamedImage(file, file)
            elif is_video(path):
                for name, frame in read_frames(path):
                    yield NamedImage(name, Frame(frame))
            else:
                yield NamedImage(path, image)
        except ImageError as error:
            yield NamedImage(path, error)


def pixels_of(
    image: PillowImage | np.ndarray | torch.Tensor | Frame,
    channel_order: str,
) -> np.ndarray:
    """Return the pixels of an image that is in memory.

    Args:
        image (PillowImage | np.ndarray | torch.Tensor | Frame): See
            :class:`.inferencer.OneFormerInferencer`.
        channel_order (str): Of arrays, one of ``CHANNEL_ORDERS``.

    Returns:
        np.ndarray: np.uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If it has another type or shape, or is empty.
    """
    if isinstance(image, Frame):
        return image.pixels
    if isinstance(image, PillowImage):
        return convert_image(image, name_of(image))
    if isinstance(image, torch.Tensor):
        return _pixels_of_tensor(image)
    pixels = convert_array(image)
    if channel_order == 'rgb':
        return np.ascontiguousarray(pixels[..., ::-1])
    return pixels


def name_of(image: Image | Frame) -> str:
    """Return what messages call an image."""
    if isinstance(image, str | PathLike):
        return printable(image)
    if isinstance(image, PillowImage):
        return printable(getattr(image, 'filename', '') or 'of Pillow')
    return 'of an array'


def _images_of(folder: str) -> list[str]:
    """Return the paths of the images in a folder, by name.

    Raises:
        ImageError: If there is none.
    """
    found = images_in(folder)
    if not found:
        raise ImageError(
            f'Folder {printable(folder)} has no image '
            f'({", ".join(IMAGE_SUFFIXES)}).'
        )
    return found


def _pixels_of_tensor(tensor: torch.Tensor) -> np.ndarray:
    """Return the pixels of a tensor, np.uint8 (H, W, 3), BGR."""
    if (
        tensor.ndim != 3
        or len(tensor) not in (1, 3)
        or tensor.dtype != torch.uint8
        or not tensor.numel()
    ):
        raise ImageError(
            'Expected a tensor torch.uint8 of shape (3, H, W), in RGB, or '
            f'(1, H, W), not empty, got {tensor.dtype} of '
            f'{tuple(tensor.shape)}. Scale other types to 0 .. 255, and give '
            'images of a batch one by one.'
        )
    array = tensor.detach().cpu().permute(1, 2, 0).numpy()
    return convert_array(np.ascontiguousarray(array[..., ::-1]))
