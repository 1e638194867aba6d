"""Read the panoptic PNG of a picture."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get


@TRANSFORMS.register_module()
class LoadPanopticSegments(BaseTransform):
    """Read the panoptic PNG as it is, with ids in its three channels.

    The ids stay coded as red + 256 green + 65536 blue until
    :class:`TaskTargets`: so every transform that handles ``gt_seg_map``
    (flip, resize with nearest neighbour, crop, pad) handles them, too.

    Required Keys: ``seg_map_path``, ``height``, ``width``.

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), RGB), ``seg_fields``.

    Args:
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        ValueError: If there is no PNG, or it is not RGB with 8 bits, or its
            size is not that of the picture.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        path = results['seg_map_path']
        if path is None:
            raise ValueError(
                f'Picture {results["img_path"]} has no panoptic annotation: '
                'leave LoadPanopticSegments out of this pipeline, or annotate '
                'the picture.'
            )
        content = get(path, backend_args=self.backend_args)
        png = mmcv.imfrombytes(content, flag='unchanged')
        if png is None:
            raise ValueError(f'{path} cannot be read as a PNG.')
        if png.ndim != 3 or png.shape[-1] != 3 or png.dtype != np.uint8:
            raise ValueError(
                f'{path} has shape {png.shape} and type {png.dtype}: expected '
                'an RGB picture with 8 bits per channel, where red + 256 '
                'green + 65536 blue is the segment id.'
            )
        size = (results['height'], results['width'])
        if png.shape[:2] != size:
            raise ValueError(
                f'{path} is {png.shape[:2]}, but its picture is {size} '
                '(height, width) in the annotation file.'
            )
        results['gt_seg_map'] = np.ascontiguousarray(png[..., ::-1])
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def decode_ids(coded: np.ndarray) -> np.ndarray:
    """Return ids, int32 (H, W), of RGB codes, uint8 (H, W, 3)."""
    red, green, blue = np.moveaxis(coded.astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue
