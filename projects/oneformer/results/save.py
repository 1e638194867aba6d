"""A result as files."""

from pathlib import Path
from typing import Any

import numpy as np

from ..file_writing import write_json, write_png
from ..segment_ids import encode_ids
from .plot import plot
from .task_results import TaskResults


def save(result: TaskResults, folder: Path, name: str | None) -> list[Path]:
    """Write a result; see :meth:`.SegmentationResult.save`."""
    name = name or result.stem
    if name is None:
        raise ValueError(
            'This image has no name, as it was no file: give one for the '
            "files, as in result.save(folder, name='photo')."
        )
    images = {}
    if result.image is not None:
        for task in result.tasks:
            images[f'{name}_{task}.png'] = np.asarray(plot(result, task))
    if result.panoptic is not None:
        images[f'{name}_panoptic_ids.png'] = encode_ids(result.panoptic)
    if result.semantic is not None:
        images[f'{name}_semantic_labels.png'] = result.semantic
    for file, pixels in images.items():
        write_png(str(folder / file), pixels)
    write_json(str(folder / f'{name}.json'), to_record(result))
    return [folder / file for file in (f'{name}.json', *images)]


def to_record(result: TaskResults) -> dict:
    """Return a result in plain types: the JSON that :func:`save` writes."""
    content: dict[str, Any] = dict(
        file=result.image_name,
        height=result.height,
        width=result.width,
        classes=list(result.classes),
        thing_classes=list(result.thing_classes),
        category_ids=[
            result.category_id(label) for label in range(len(result.classes))
        ],
    )
    for task in result.tasks:
        content[task] = [
            dict(id=segment.id, **segment.to_dict())
            for segment in result.segments_of(task)
        ]
    return content
