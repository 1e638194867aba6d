"""Padding to a fixed size."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .resized_crop import contiguous


@TRANSFORMS.register_module()
class PadToSize(BaseTransform):
    """Do what mmcv's ``Pad`` does with a ``size``, and pack faster.

    Smaller images are padded at the bottom and right. The image is stored
    channel by channel, as the model reads it, so that ``PackDetInputs`` need
    not copy it. For other transforms it is an ordinary array.

    Required Keys: ``img``, ``gt_seg_map`` (optional).

    Modified Keys: ``img``, ``img_shape``, ``gt_seg_map``.

    Added Keys: ``pad_shape``.

    Args:
        size (tuple[int, int]): Width and height, as of ``Pad``.
        img_value (int): Padding of the image, 0 to 255, in all channels.
        seg_value (int): Padding of the ids; 0 is void.

    Raises:
        ValueError: If ``size`` is not two whole numbers above 0, or an image
            is larger.
    """

    def __init__(
        self, size: tuple[int, int], img_value: int = 128, seg_value: int = 0
    ) -> None:
        self.size = check_sides('size of PadToSize', size)
        self.img_value = img_value
        self.seg_value = seg_value

    def transform(self, results: dict) -> dict:
        """Pad the image and the ids of ``results``."""
        size = self.size[::-1]
        shape = results['img'].shape[:2]
        if any(side > limit for side, limit in zip(shape, size, strict=True)):
            raise ValueError(
                f'PadToSize cannot make {shape} (height, width) smaller: '
                f'expected at most {size}. Crop before, or change its size.'
            )
        results['img'] = pad(results['img'], size, self.img_value)
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = pad(
                results['gt_seg_map'], size, self.seg_value
            )
        results['img_shape'] = size
        results['pad_shape'] = results['img'].shape
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'img_value={self.img_value}, seg_value={self.seg_value})'
        )


def pad(image: np.ndarray, size: tuple[int, int], value: int) -> np.ndarray:
    """Return an image with ``value`` at the bottom and right.

    Args:
        image (np.ndarray): uint8, (H, W) or (H, W, C).
        size (tuple[int, int]): Height and width, not less than H and W.
        value (int): In all channels.

    Returns:
        np.ndarray: Of the height and width asked for; with channels a view,
        stored as (C, height, width).
    """
    height, width = image.shape[:2]
    if image.ndim == 2:
        padded = np.full(size, value, image.dtype)
        padded[:height, :width] = image
        return padded
    planes = np.full((image.shape[2], *size), value, image.dtype)
    channels = cv2.split(contiguous(image))
    for plane, channel in zip(planes, channels, strict=True):
        plane[:height, :width] = channel
    return planes.transpose(1, 2, 0)


def check_sides(name: str, value: Sequence[int]) -> tuple[int, int]:
    """Return ``value`` as a tuple if it is two lengths in pixels.

    Raises:
        ValueError: If it is something else; the message says ``name``.
    """
    if (
        not isinstance(value, Sequence)
        or len(value) != 2
        or not all(isinstance(side, int) and side > 0 for side in value)
    ):
        raise ValueError(
            f'Expected two whole numbers above 0 as {name}, got {value!r}.'
        )
    height, width = value
    return height, width
