"""Derive what the metrics compare with from the panoptic annotation."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from pycocotools import mask as coco_mask

from .load_segments import number_segments

IGNORE_INDEX = 255


@TRANSFORMS.register_module()
class EvalTargets(BaseTransform):
    """Make panoptic, instance and semantic ground truth for evaluation.

    All three come from the panoptic annotation, in the size of the original
    picture: put it behind :class:`LoadPanopticSegments`, both behind the
    transforms that resize.

    Required Keys: ``gt_seg_map`` (coded ids), ``segments_info``,
    ``classes``.

    Modified Keys: ``gt_seg_map`` (np.uint8, (H, W): label, of a crowd, too,
    255 where void), ``segments_info`` (each segment with ``segmentation``, a
    COCO RLE, and ``area``; those without pixels are left out).

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
        coded, annotated = results['gt_seg_map'], results['segments_info']
        # In the memory order of run lengths, which spares a copy per mask.
        numbers = np.asfortranarray(number_segments(coded, annotated))
        segments, instances = [], []
        for number, segment in enumerate(annotated, 1):
            mask = numbers == number  # (H, W)
            area = int(np.count_nonzero(mask))
            if not area:
                continue
            rle = coco_mask.encode(mask.view(np.uint8))
            rle['counts'] = rle['counts'].decode()
            segments.append(dict(segment, segmentation=rle, area=area))
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
        labels = [segment['category'] for segment in annotated]
        labels = np.array([IGNORE_INDEX, *labels], dtype=np.uint8)
        results['gt_seg_map'] = np.ascontiguousarray(labels[numbers])
        results['segments_info'] = segments
        results['instances'] = instances
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
