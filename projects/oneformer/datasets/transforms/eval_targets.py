"""Ground truth that the metrics compare with."""

import numpy as np
from mmdet.registry import TRANSFORMS

from ...run_lengths import encode_labels, join_rles, rle_area, rle_box
from ...segment_ids import ids_of, number_ids
from ...tasks import IGNORE_INDEX, TASKS, ignore_index
from .annotation_transform import AnnotationTransform


@TRANSFORMS.register_module()
class EvalTargets(AnnotationTransform):
    """Make panoptic, instance and semantic ground truth for evaluation.

    It is derived from the segments, in the size of the original image: put
    this step after :class:`LoadSegments`, and both after the transforms that
    resize. Only the ground truth that the annotation supports is added: a data
    set with instances only gets ``instances``, one with label maps only
    ``gt_seg_map``.

    Required Keys: ``gt_seg_map`` (coded ids), ``segments_info``,
    ``classes``, ``supervised_tasks`` (optional, all if absent).

    Modified Keys: ``gt_seg_map`` (np.uint8, (H, W): label, of a crowd, too,
    255 where void; with more than 255 classes np.int32 and 65535),
    ``segments_info`` (each segment with ``segmentation``, a
    COCO RLE, and ``area``; those without pixels are left out).

    Added Keys: ``instances`` (things only, as mmdet's ``CocoMetric`` reads
    them: ``bbox``, ``bbox_label``, ``mask``, ``ignore_flag``).

    Removed Keys: Those of the above that belong to unsupervised tasks.
    """

    def transform_annotation(self, results: dict) -> dict:
        """Add the ground truth to ``results``."""
        supervised = results.get('supervised_tasks', TASKS)
        coded, annotated = results['gt_seg_map'], results['segments_info']
        ids = sorted({n for segment in annotated for n in ids_of(segment)})
        numbers = number_ids(coded, ids)  # region of each pixel, (H, W)
        segments = measure_segments(numbers, ids, annotated)
        del results['gt_seg_map'], results['segments_info']
        if 'panoptic' in supervised:
            results['segments_info'] = segments
        if 'instance' in supervised:
            results['instances'] = [
                to_instance(own) for own in segments if own['is_thing']
            ]
        if 'semantic' in supervised:
            label_of = {n: s['category'] for s in annotated for n in ids_of(s)}
            void = ignore_index(len(results['classes']))
            labels = [void, *(label_of[number] for number in ids)]
            results['gt_seg_map'] = np.array(labels, map_type(void))[numbers]
        elif 'seg_fields' in results:
            results['seg_fields'].remove('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def measure_segments(
    numbers: np.ndarray, ids: list[int], segments: list[dict]
) -> list[dict]:
    """Return the segments that are there, with run lengths and area.

    Args:
        numbers (np.ndarray): Region of each pixel: place in ``ids``, from 1,
            or 0 for none, (H, W).
        ids (list[int]): Ids of the regions.
        segments (list[dict]): Segments, each of one region or, where masks
            overlap, of several.
    """
    rles = {
        ids[number - 1]: rle
        for number, rle in encode_labels(numbers, void=0).items()
    }
    measured = []
    for segment in segments:
        own = [rles[number] for number in ids_of(segment) if number in rles]
        if own:
            rle = join_rles(own)
            measured.append(
                dict(segment, segmentation=rle, area=rle_area(rle))
            )
    return measured


def map_type(void: int) -> type:
    """Return the type of label maps, given their value for void."""
    # PyTorch can do little with np.uint16.
    return np.uint8 if void <= IGNORE_INDEX else np.int32


def to_instance(segment: dict) -> dict:
    """Return a segment with its RLE as mmdet describes an instance."""
    left, top, width, height = rle_box(segment['segmentation'])
    return dict(
        bbox=[left, top, left + width, top + height],
        bbox_label=segment['category'],
        mask=segment['segmentation'],
        ignore_flag=int(segment['iscrowd']),
    )
