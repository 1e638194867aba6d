"""Derive what the metrics compare with from the panoptic annotation."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from pycocotools import mask as coco_mask

from .load_segments import decode_ids

IGNORE_INDEX = 255


@TRANSFORMS.register_module()
class EvalTargets(BaseTransform):
    """Make panoptic, instance and semantic ground truth for evaluation.

    All three come from the panoptic annotation, in the size of the original
    picture: put it behind :class:`LoadPanopticSegments`, both behind the
    transforms that resize.

    Required Keys: ``gt_seg_map`` (coded ids), ``segments_info``.

    Modified Keys: ``gt_seg_map`` (np.uint8, (H, W): label, 255 where void or
    crowd), ``segments_info`` (each segment with ``segmentation``, a COCO
    RLE, and ``area``; those without pixels are left out).

    Added Keys: ``instances`` (things only, as mmdet's ``CocoMetric`` reads
    them: ``bbox``, ``bbox_label``, ``mask``, ``ignore_flag``).

    Raises:
        ValueError: If there are more classes than an 8-bit map can tell.
    """

    def transform(self, results: dict) -> dict:
        """Add the ground truth to ``results``."""
        if len(results['classes']) > IGNORE_INDEX:
            raise ValueError(
                f'EvalTargets can tell {IGNORE_INDEX} classes apart, got '
                f'{len(results["classes"])}.'
            )
        ids = decode_ids(results['gt_seg_map'])
        semantic = np.full(ids.shape, IGNORE_INDEX, dtype=np.uint8)
        segments, instances = [], []
        for segment in results['segments_info']:
            mask = ids == segment['id']
            if not mask.any():
                continue
            rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
            rle['counts'] = rle['counts'].decode()
            segments.append(
                dict(segment, segmentation=rle, area=int(mask.sum()))
            )
            if not segment['iscrowd']:
                semantic[mask] = segment['category']
            if segment['is_thing']:
                x, y, width, height = coco_mask.toBbox(rle).tolist()
                instances.append(
                    dict(
                        bbox=[x, y, x + width, y + height],
                        bbox_label=segment['category'],
                        mask=rle,
                        ignore_flag=int(segment['iscrowd']),
                    )
                )
        results['gt_seg_map'] = semantic
        results['segments_info'] = segments
        results['instances'] = instances
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
