"""Derive the ground truth of the drawn task from the panoptic one."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks

from .load_segments import number_segments


@TRANSFORMS.register_module()
class TaskTargets(BaseTransform):
    """Make masks and labels for the task.

    ========  =======================  ======================
    task      segments                 one mask per
    ========  =======================  ======================
    semantic  things and stuff         class
    instance  things                   segment
    panoptic  things and stuff         segment
    ========  =======================  ======================

    Crowds and segments of which no pixel is left make no mask; their pixels,
    like void and padding, count as background of all masks.

    Required Keys: ``task``, ``gt_seg_map`` (coded ids), ``segments_info``.

    Added Keys: ``gt_masks`` (BitmapMasks), ``gt_bboxes_labels`` (np.int64),
    both in the order of ``segments_info``.

    Removed Keys: ``gt_seg_map``.

    Source: arXiv:2211.06220, task-conditioned joint training.
    """

    def transform(self, results: dict) -> dict:
        """Replace the coded ids in ``results`` by masks and labels."""
        task = results['task']
        segments = [
            segment
            for segment in results['segments_info']
            if not segment['iscrowd']
            and (segment['is_thing'] or task != 'instance')
        ]
        numbers = number_segments(results.pop('gt_seg_map'), segments)
        results['seg_fields'].remove('gt_seg_map')
        pixels = np.bincount(numbers.ravel(), minlength=len(segments) + 1)
        labels = []
        mask_of = np.zeros(len(segments) + 1, numbers.dtype)
        for number, segment in enumerate(segments, 1):
            if not pixels[number]:
                continue
            label = segment['category']
            if task != 'semantic' or label not in labels:
                labels.append(label)
                mask_of[number] = len(labels)
            else:
                mask_of[number] = labels.index(label) + 1
        # Masks do not overlap, so one map (H, W) tells all of them.
        masks = np.arange(1, len(labels) + 1, dtype=mask_of.dtype)
        masks = mask_of[numbers] == masks[:, None, None]  # (N, H, W)
        results['gt_masks'] = BitmapMasks(masks.view(np.uint8), *numbers.shape)
        results['gt_bboxes_labels'] = np.array(labels, dtype=np.int64)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
