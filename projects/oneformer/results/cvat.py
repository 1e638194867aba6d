"""Shapes of CVAT's auto-annotation functions."""

from collections.abc import Collection

from .task_results import TaskResults


def to_cvat(
    result: TaskResults,
    task: str | None,
    classes: Collection[str] | None,
    polygons: bool,
    score_thr: float,
) -> list:
    """See :meth:`.SegmentationResult.to_cvat`."""
    from cvat_sdk import auto_annotation
    from cvat_sdk.masks import encode_mask

    shapes = []
    for segment in result.segments_of(task, classes, score_thr):
        if polygons:
            shapes += [
                auto_annotation.polygon(
                    segment.label, polygon.ravel().astype(float).tolist()
                )
                for polygon in segment.polygons(tolerance=1.0)
            ]
            continue
        left, top, width, height = segment.bbox
        points = encode_mask(
            segment.mask, [left, top, left + width, top + height]
        )
        shapes.append(auto_annotation.mask(segment.label, points))
    return shapes
