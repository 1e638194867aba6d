"""Labels of FiftyOne."""

import numpy as np

from .segment import Segment
from .task_results import TaskResults


def mask_targets(classes: tuple[str, ...]) -> dict[int, str]:
    """Return the names of the values in masks, for a data set of FiftyOne.

    Example:
        >>> dataset.default_mask_targets = mask_targets(result.classes)
    """
    return dict(enumerate(classes, 1))


def to_fiftyone(result: TaskResults) -> dict:
    """See :meth:`.SegmentationResult.to_fiftyone`."""
    from fiftyone import Detections, Segmentation

    labels: dict = {}
    if result.semantic is not None:
        mask = np.zeros(result.size, np.min_scalar_type(len(result.classes)))
        known = result.semantic < len(result.classes)
        mask[known] = result.semantic[known].astype(mask.dtype) + 1
        labels['semantic'] = Segmentation(mask=mask)
    for task in ('panoptic', 'instance'):
        if task in result.tasks:
            labels[task] = Detections(
                detections=[
                    _detection(segment, result)
                    for segment in result.segments_of(task)
                ]
            )
    return labels


def _detection(segment: Segment, result: TaskResults):
    from fiftyone import Detection

    left, top, width, height = segment.bbox
    return Detection(
        label=segment.name,
        bounding_box=[
            left / result.width,
            top / result.height,
            width / result.width,
            height / result.height,
        ],
        mask=segment.mask[top : top + height, left : left + width],
        confidence=segment.score,
        index=segment.id,
        is_thing=segment.is_thing,
        category_id=result.category_id(segment.label),
    )
