"""Colour jitter of SSD, in 8 bits."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

LEVELS = np.arange(256, dtype=np.float32)


@TRANSFORMS.register_module()
class SSDColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue at random.

    Brightness comes first; then, with equal probability, contrast, saturation
    and hue, or saturation, hue and contrast. Each of the four is applied with
    probability 0.5. After each the values are clipped to 0 to 255 and rounded
    down, unlike in ``PhotoMetricDistortion`` of mmdet, which computes in
    floats, and of mmseg, which never draws the largest hue.

    Required Keys: ``img`` (np.uint8, (H, W, 3), BGR).

    Modified Keys: ``img``.

    Args:
        brightness_delta (float): Largest change of the values, which are 0 to
            255.
        contrast_range (tuple[float, float]): Factors of the values.
        saturation_range (tuple[float, float]): Factors of the saturation.
        hue_delta (int): Largest change of the hue, in steps of 2 degrees.

    Raises:
        ValueError: If a delta is negative, or a range is not two numbers,
            the first not above the second.

    Source: arXiv:1512.02325; in 8 bits as in Detectron2's PointRend.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: tuple[float, float] = (0.5, 1.5),
        saturation_range: tuple[float, float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        _check_delta('brightness_delta', brightness_delta)
        self.brightness_delta = brightness_delta
        self.contrast_range = _range('contrast_range', contrast_range)
        self.saturation_range = _range('saturation_range', saturation_range)
        _check_delta('hue_delta', hue_delta)
        self.hue_delta = hue_delta

    def transform(self, results: dict) -> dict:
        """Change the colours of ``results['img']``."""
        img = self.brightness(results['img'])
        if _coin():
            img = self.hue(self.saturation(self.contrast(img)))
        else:
            img = self.contrast(self.hue(self.saturation(img)))
        results['img'] = img
        return results

    def brightness(self, img: np.ndarray) -> np.ndarray:
        """Add a number to all values, or not."""
        if not _coin():
            return img
        delta = self.brightness_delta
        return cv2.LUT(img, _table(shift=np.random.uniform(-delta, delta)))

    def contrast(self, img: np.ndarray) -> np.ndarray:
        """Multiply all values, or not."""
        if not _coin():
            return img
        return cv2.LUT(img, _table(np.random.uniform(*self.contrast_range)))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Multiply the saturation, or not."""
        if not _coin():
            return img
        table = _table(np.random.uniform(*self.saturation_range))
        return map_hsv(img, 1, table)

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Turn the hue, or not."""
        if not _coin():
            return img
        shift = np.random.randint(-self.hue_delta, self.hue_delta + 1)
        # OpenCV counts hue in 180 steps.
        return map_hsv(img, 0, ((np.arange(256) + shift) % 180))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}('
            f'brightness_delta={self.brightness_delta}, '
            f'contrast_range={self.contrast_range}, '
            f'saturation_range={self.saturation_range}, '
            f'hue_delta={self.hue_delta})'
        )


def _coin() -> bool:
    return bool(np.random.randint(2))


def _table(factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """What becomes of each of the 256 values."""
    values = LEVELS * np.float32(factor) + np.float32(shift)
    return values.clip(0, 255).astype(np.uint8)


def map_hsv(img: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """Look the values of hue (0) or saturation (1) up in a table of 256."""
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
    values = cv2.LUT(cv2.extractChannel(hsv, channel), table.astype(np.uint8))
    return cv2.cvtColor(
        cv2.insertChannel(values, hsv, channel), cv2.COLOR_HSV2BGR
    )


def _check_delta(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f'Expected {name} of at least 0, got {value}.')


def _range(name: str, value: Sequence[float]) -> tuple[float, float]:
    if len(value) != 2 or value[0] > value[1]:
        raise ValueError(
            f'Expected two numbers, (smallest, largest), as {name}, got '
            f'{tuple(value)}.'
        )
    return value[0], value[1]
