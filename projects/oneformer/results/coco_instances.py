"""COCO's format of instances."""

from .coco_panoptic import coco_categories, coco_image
from .task_results import TaskResults


def to_coco_instances(
    result: TaskResults, image_id: int, file_name: str | None
) -> dict:
    """See :meth:`.SegmentationResult.to_coco_instances`."""
    annotations = []
    for number, segment in enumerate(result.segments_of('instance'), 1):
        annotation = dict(
            id=number,
            image_id=image_id,
            category_id=result.category_id(segment.label),
            segmentation=segment.rle,
            area=segment.area,
            bbox=list(segment.bbox),
            iscrowd=0,
        )
        if segment.score is not None:
            annotation['score'] = segment.score
        annotations.append(annotation)
    return dict(
        images=[coco_image(result, image_id, file_name)],
        annotations=annotations,
        categories=[own for own in coco_categories(result) if own['isthing']],
    )
