"""Detections of the package supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .task_results import TaskResults

if TYPE_CHECKING:
    import supervision


def to_supervision(
    result: TaskResults, task: str | None
) -> supervision.Detections:
    """See :meth:`.SegmentationResult.to_supervision`."""
    from supervision import Detections

    segments = result.segments_of(task)
    boxes = np.array([s.bbox for s in segments], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = np.array([s.mask for s in segments], bool)
    scores = [s.score for s in segments]
    return Detections(
        xyxy=boxes,
        mask=masks.reshape(-1, *result.size),
        confidence=None if None in scores else np.array(scores, np.float32),
        class_id=np.array([s.label for s in segments], int),
        data=dict(
            class_name=np.array([s.name for s in segments], str),
            is_thing=np.array([s.is_thing for s in segments], bool),
            category_id=np.array(
                [result.category_id(s.label) for s in segments], int
            ),
        ),
    )
