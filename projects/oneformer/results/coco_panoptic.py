"""COCO's panoptic format: a JSON, and a PNG of ids."""

from dataclasses import replace

import numpy as np

from ..drawing import class_colors
from ..segment_ids import decode_ids, encode_ids
from .segment import segments_of_map
from .task_results import TaskResults

# What entries of the JSON need to become a result.
KEYS = dict(
    images=('id', 'file_name'),
    annotations=('image_id', 'file_name', 'segments_info'),
    categories=('id', 'name', 'isthing'),
)


def to_coco_panoptic(
    result: TaskResults, image_id: int, file_name: str | None
) -> tuple[dict, np.ndarray]:
    """See :meth:`.SegmentationResult.to_coco_panoptic`."""
    segments = result.segments_of('panoptic')
    assert result.panoptic is not None
    image = coco_image(result, image_id, file_name)
    infos = []
    for segment in segments:
        info = dict(
            id=segment.id,
            category_id=result.category_id(segment.label),
            area=segment.area,
            bbox=list(segment.bbox),
            iscrowd=int(segment.is_crowd),
        )
        if segment.score is not None:
            info['score'] = segment.score
        infos.append(info)
    annotation = dict(
        image_id=image_id,
        file_name=f'{result.stem or image_id}.png',
        segments_info=infos,
    )
    return (
        dict(
            images=[image],
            annotations=[annotation],
            categories=coco_categories(result),
        ),
        encode_ids(result.panoptic),
    )


def coco_image(
    result: TaskResults, image_id: int, file_name: str | None
) -> dict:
    """Return the entry of an image in a COCO file."""
    return dict(
        id=image_id,
        file_name=file_name or result.image_name or f'{image_id}.png',
        height=result.height,
        width=result.width,
    )


def coco_categories(result: TaskResults) -> list[dict]:
    """Return the categories of a COCO file, in label order."""
    colors = class_colors(len(result.classes), result.palette).tolist()
    return [
        dict(
            id=result.category_id(label),
            name=name,
            isthing=int(name in result.thing_classes),
            color=colors[label],
        )
        for label, name in enumerate(result.classes)
    ]


def _check_keys(content: dict) -> None:
    for part, keys in KEYS.items():
        entries = content.get(part)
        if not isinstance(entries, list):
            raise ValueError(
                f'Expected a list of {part} in the JSON, as in COCO panoptic, '
                f'got {type(entries).__name__}.'
            )
        for entry in entries:
            if lacking := [key for key in keys if key not in entry]:
                raise ValueError(
                    f'An entry of {part} lacks {", ".join(lacking)}: expected '
                    "COCO's panoptic format; that of instances is another."
                )


def from_coco_panoptic(
    content: dict, png: np.ndarray, image_id: int | None
) -> dict:
    """Return the fields of a result; see the method of the same name."""
    _check_keys(content)
    found = [
        annotation
        for annotation in content['annotations']
        if image_id in (None, annotation['image_id'])
    ]
    if len(found) != 1:
        listed = [own['image_id'] for own in content['annotations']]
        raise ValueError(
            f'Expected one annotation of image {image_id}, got {len(found)}: '
            f'give one of the image_id {listed[:10]}.'
        )
    categories = content['categories']
    labels = {own['id']: label for label, own in enumerate(categories)}
    classes = tuple(own['name'] for own in categories)
    things = tuple(own['name'] for own in categories if own['isthing'])
    used = {info['category_id'] for info in found[0]['segments_info']}
    if unknown := sorted(used - labels.keys()):
        raise ValueError(
            f'The segments have category_id {unknown[:10]}, which categories '
            'of the JSON lack: add them there.'
        )
    crowds = {info['id'] for info in found[0]['segments_info'] if _crowd(info)}
    known = {
        info['id']: (labels[info['category_id']], info.get('score'))
        for info in found[0]['segments_info']
    }
    ids = decode_ids(png)
    if unknown := sorted(set(np.unique(ids).tolist()) - {0, *known}):
        raise ValueError(
            f'The PNG has ids {unknown[:10]} that the annotation lacks: give '
            f'the file {found[0]["file_name"]!r}, which it names.'
        )
    names = {own['id']: own['file_name'] for own in content['images']}
    colors = tuple(tuple(own['color']) for own in categories if 'color' in own)
    height, width = ids.shape
    return dict(
        height=height,
        width=width,
        classes=classes,
        thing_classes=things,
        # Of some classes alone, they would go to others.
        palette=colors if len(colors) == len(categories) else (),
        category_ids=tuple(labels),
        image_name=names.get(found[0]['image_id']),
        panoptic=ids,
        segments=[
            replace(segment, is_crowd=segment.id in crowds)
            for segment in segments_of_map(ids, known, classes, things)
        ],
    )


def _crowd(info: dict) -> bool:
    """Return whether a segment of the JSON is a crowd."""
    value = info.get('iscrowd', 0)
    if value not in (0, 1):
        raise ValueError(
            f'Segment {info["id"]} has iscrowd {value!r}: expected 0 or 1.'
        )
    return bool(value)
