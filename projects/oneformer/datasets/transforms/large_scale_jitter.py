"""Large-scale jitter: random scale, then a crop of fixed size."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .pad_to_size import pad
from .resized_crop import resized_crop, resized_id_crop


@TRANSFORMS.register_module()
class LargeScaleJitter(BaseTransform):
    """Scale an image at random and crop or pad it to a fixed size.

    The image is scaled to fit ``ratio * size`` with ``ratio`` drawn from
    ``ratio_range``, with Pillow's bilinear filter (which averages when it
    shrinks), ids with nearest neighbour. If it is larger than ``size`` it is
    cropped, at the same random fraction on both axes; if it is smaller it is
    padded at the bottom and right, ids with 0 (void).

    Required Keys: ``img``, ``gt_seg_map`` (optional).

    Modified Keys: ``img``, ``img_shape``, ``gt_seg_map``.

    Args:
        size (tuple[int, int]): Height and width of the result.
        ratio_range (tuple[float, float]): Smallest and largest ratio.
        pad_value (int): Padding of the image, 0 to 255, in all channels.

    Raises:
        ValueError: If ``size`` or ``ratio_range`` is not two numbers above
            0, the second ratio not below the first.

    Source: arXiv:2012.07177; cropping and rounding as in Detectron2.
    """

    def __init__(
        self,
        size: tuple[int, int],
        ratio_range: tuple[float, float] = (0.1, 2.0),
        pad_value: int = 128,
    ) -> None:
        self.size = _pair('size', size)
        self.ratio_range = _pair('ratio_range', ratio_range)
        if self.ratio_range[0] > self.ratio_range[1]:
            raise ValueError(
                'Expected ratio_range=(smallest, largest), got '
                f'{self.ratio_range}.'
            )
        self.pad_value = pad_value

    def transform(self, results: dict) -> dict:
        """Jitter the image and the ids of ``results``."""
        ratio = np.random.uniform(*self.ratio_range)
        scaled = self.scaled_size(results['img'].shape[:2], ratio)
        fraction = np.random.uniform()
        offset, crop = [], []
        for side, target in zip(scaled, self.size, strict=True):
            offset.append(round(fraction * max(side - target, 0)))
            crop.append(min(side, target))
        where = scaled, tuple(offset), tuple(crop)
        img = resized_crop(results['img'], *where)
        results['img'] = pad(img, self.size, self.pad_value)
        if 'gt_seg_map' in results:
            ids = resized_id_crop(results['gt_seg_map'], *where)
            results['gt_seg_map'] = pad(ids, self.size, 0)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def scaled_size(
        self, size: tuple[int, int], ratio: float
    ) -> tuple[int, int]:
        """Return height and width after scaling, rounded half to even."""
        factor = min(
            ratio * target / side
            for side, target in zip(size, self.size, strict=True)
        )
        return tuple(max(round(side * factor), 1) for side in size)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, '
            f'ratio_range={self.ratio_range}, pad_value={self.pad_value})'
        )


def _pair(name: str, value: Sequence) -> tuple:
    if not isinstance(value, Sequence) or len(value) != 2 or min(value) <= 0:
        raise ValueError(
            f'Expected two numbers above 0 as {name}, got {value!r}.'
        )
    return tuple(value)
