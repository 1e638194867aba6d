"""Shapes of CVAT's auto-annotation functions."""

from .task_results import TaskResults


def to_cvat(
    result: TaskResults,
    task: str | None,
    classes: list[str] | None,
    polygons: bool,
) -> list:
    """See :meth:`.SegmentationResult.to_cvat`."""
    from cvat_sdk import auto_annotation
    from cvat_sdk.masks import encode_mask

    if unknown := set(classes or ()) - set(result.classes):
        raise ValueError(
            f'Unknown classes {sorted(unknown)}: the model has '
            f'{list(result.classes)}.'
        )
    shapes = []
    for segment in result.segments_of(task):
        if classes is not None and segment.name not in classes:
            continue
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
