"""Derive the ground truth of the drawn task from the panoptic one."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks

from .load_segments import decode_ids


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
        ids = decode_ids(results.pop('gt_seg_map'))
        results['seg_fields'].remove('gt_seg_map')
        task = results['task']
        masks, labels = [], []
        for segment in results['segments_info']:
            if segment['iscrowd']:
                continue
            if task == 'instance' and not segment['is_thing']:
                continue
            mask = ids == segment['id']
            if not mask.any():
                continue
            label = segment['category']
            if task == 'semantic' and label in labels:
                masks[labels.index(label)] |= mask
            else:
                masks.append(mask)
                labels.append(label)
        results['gt_masks'] = BitmapMasks(
            [mask.view(np.uint8) for mask in masks], *ids.shape
        )
        results['gt_bboxes_labels'] = np.array(labels, dtype=np.int64)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
