"""Resize to one of several scales, and crop."""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .pad_to_size import check_sides
from .resized_crop import resized_crop, resized_id_crop


@TRANSFORMS.register_module()
class RandomChoiceResizeCrop(BaseTransform):
    """Do what ``RandomChoiceResize`` and ``RandomCrop`` do, on the crop only.

    Random numbers and results are those of mmdet's transforms, with
    ``keep_ratio=True`` and ``backend='pillow'`` of the first: the image is
    scaled to fit one of ``scales``, all equally likely, with Pillow's bilinear
    filter (which averages when it shrinks), ids with nearest neighbour, and
    every place of the crop is equally likely. But only the pixels of the crop
    are computed. An image that is smaller than the crop is not padded.

    Boxes and masks are not handled: there are none before
    :class:`TaskTargets`.

    Required Keys: ``img``, ``gt_seg_map`` (optional), ``homography_matrix``
    (optional).

    Modified Keys: ``img``, ``img_shape``, ``gt_seg_map``,
    ``homography_matrix`` (added if absent).

    Added Keys: ``scale``, ``scale_idx``, ``scale_factor``, ``keep_ratio``.

    Args:
        scales (Sequence[tuple[int, int]]): Each the long and the short side
            at most, in either order.
        crop_size (tuple[int, int]): Width and height of the crop.

    Raises:
        ValueError: If a scale or ``crop_size`` is not two whole numbers above
            0, or there is no scale.
    """

    def __init__(
        self,
        scales: Sequence[tuple[int, int]],
        crop_size: tuple[int, int],
    ) -> None:
        if not scales:
            raise ValueError('Expected at least one scale, got none.')
        self.scales = [
            check_sides('each of scales', scale) for scale in scales
        ]
        self.crop_size = check_sides('crop_size', crop_size)

    def transform(self, results: dict) -> dict:
        """Resize and crop the image and the ids of ``results``."""
        index = np.random.randint(len(self.scales))
        scale = self.scales[index]
        height, width = results['img'].shape[:2]
        scaled = mmcv.rescale_size((width, height), scale)[::-1]
        crop = tuple(
            min(side, target)
            for side, target in zip(scaled, self.crop_size[::-1], strict=True)
        )
        offset = tuple(
            np.random.randint(side - length + 1)
            for side, length in zip(scaled, crop, strict=True)
        )
        results['img'] = resized_crop(results['img'], scaled, offset, crop)
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = resized_id_crop(
                results['gt_seg_map'], scaled, offset, crop
            )
        factors = scaled[1] / width, scaled[0] / height
        results.update(
            scale=scale,
            scale_idx=index,
            scale_factor=factors,
            keep_ratio=True,
            img_shape=crop,
        )
        record_homography(results, factors, offset)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scales={self.scales}, '
            f'crop_size={self.crop_size})'
        )


def record_homography(
    results: dict, factors: tuple[float, float], offset: tuple[int, int]
) -> None:
    """Note where pixels have gone, as mmdet's transforms do.

    Args:
        results (dict): Its ``homography_matrix`` is replaced.
        factors (tuple[float, float]): Of the width and of the height.
        offset (tuple[int, int]): First row and column of the crop.
    """
    resize = np.diag(np.array([*factors, 1], np.float32))
    crop = np.eye(3, dtype=np.float32)
    crop[:2, 2] = [-offset[1], -offset[0]]
    before = results.get('homography_matrix')
    if before is not None:
        resize = resize @ before
    results['homography_matrix'] = crop @ resize
