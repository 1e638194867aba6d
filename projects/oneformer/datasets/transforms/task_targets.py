"""Derive the ground truth of the drawn task from the panoptic one."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks

from ...segment_ids import ids_of, number_ids, run_starts
from ...tasks import IGNORE_INDEX


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

    Crowds and segments without a remaining pixel get no mask. Their pixels,
    like void, count as background of all masks, or as unlabelled if ``void``
    is ``'ignore'``. Padding is background.

    Required Keys: ``task``, ``gt_seg_map`` (coded ids), ``segments_info``;
    optional are ``void``, ``unlabelled_classes``, ``classes`` and
    ``thing_classes``.

    Added Keys: ``gt_masks`` (BitmapMasks), ``gt_bboxes_labels`` (np.int64),
    both in the order of ``segments_info``.

    Modified Keys: ``gt_seg_map`` (np.uint8, (H, W), ``IGNORE_INDEX`` where not
    labelled,
    else 0), if ``void`` is ``'ignore'``; ``unlabelled_classes`` (things only
    in the instance task).

    Removed Keys: ``gt_seg_map``, otherwise.

    Source: arXiv:2211.06220, task-conditioned joint training.
    """

    def transform(self, results: dict) -> dict:
        """Replace the coded ids in ``results`` by masks and labels."""
        task = results['task']
        annotated = [s for s in results['segments_info'] if not s['iscrowd']]
        segments = [
            s for s in annotated if s['is_thing'] or task != 'instance'
        ]
        coded = results.pop('gt_seg_map')
        results['seg_fields'].remove('gt_seg_map')
        if results.get('void') == 'ignore':
            self.mark_unlabelled(coded, annotated, results)
        if task == 'instance':
            self.keep_open_things(results)
        ids = sorted({n for segment in segments for n in ids_of(segment)})
        if coded.ndim == 2:  # already small numbers
            numbers, place = coded, {number: number for number in ids}
        else:
            numbers = number_ids(coded, ids)
            place = {number: i for i, number in enumerate(ids, 1)}
        present = set(numbers.ravel()[run_starts(numbers)].tolist())
        labels: list[int] = []
        regions: list[list[int]] = []  # of each mask, places in ids
        for segment in segments:
            own = [place[n] for n in ids_of(segment) if place[n] in present]
            if not own:
                continue
            label = segment['category']
            if task != 'semantic' or label not in labels:
                labels.append(label)
                regions.append(own)
            else:
                regions[labels.index(label)] += own
        masks = draw_regions(numbers, regions)
        results['gt_masks'] = BitmapMasks(masks.view(np.uint8), *numbers.shape)
        results['gt_bboxes_labels'] = np.array(labels, dtype=np.int64)
        return results

    @staticmethod
    def keep_open_things(results: dict) -> None:
        """Remove stuff from the unlabelled classes.

        The instance task has things only.
        """
        if results.get('unlabelled_classes'):
            classes, things = results['classes'], results['thing_classes']
            results['unlabelled_classes'] = tuple(
                label
                for label in results['unlabelled_classes']
                if classes[label] in things
            )

    @staticmethod
    def mark_unlabelled(
        coded: np.ndarray, segments: list[dict], results: dict
    ) -> None:
        """Put the pixels outside of all segments into ``gt_seg_map``."""
        ids = sorted({n for segment in segments for n in ids_of(segment)})
        unlabelled = (number_ids(coded, ids) == 0).view(np.uint8)
        results['gt_seg_map'] = unlabelled * np.uint8(IGNORE_INDEX)
        results['seg_fields'].append('gt_seg_map')

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def draw_regions(numbers: np.ndarray, regions: list[list[int]]) -> np.ndarray:
    """Return the mask of each list of regions.

    Args:
        numbers (np.ndarray): Region of each pixel, 0 for none, (H, W).
        regions (list[list[int]]): Regions of each mask; masks may share some.

    Returns:
        np.ndarray: bool, (N, H, W).
    """
    size = 256 if numbers.dtype == np.uint8 else int(numbers.max()) + 1
    drawn = [number for own in regions for number in own]
    if len(set(drawn)) < len(drawn):
        masks = np.empty((len(regions), *numbers.shape), bool)
        for mask, own in zip(masks, regions, strict=True):
            table = np.zeros(size, np.uint8)
            table[own] = 1
            mask[:] = look_up(table, numbers)
        return masks
    # Masks do not overlap, so one map (H, W) holds all of them.
    mask_of = np.zeros(size, np.min_scalar_type(len(regions)))
    for i, own in enumerate(regions, 1):
        mask_of[own] = i
    places = np.arange(1, len(regions) + 1, dtype=mask_of.dtype)
    return look_up(mask_of, numbers) == places[:, None, None]


def look_up(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return ``table[numbers]``, faster where both are np.uint8."""
    if table.dtype == numbers.dtype == np.uint8:
        return cv2.LUT(numbers, table)
    return table[numbers]
