"""A drawing of a result."""

from collections import Counter

import numpy as np
from PIL import Image

from ..drawing import Region, add_legend, class_colors, draw_regions, tint
from .task_results import TaskResults


def plot(
    result: TaskResults,
    task: str | None,
    image: np.ndarray | None,
    opacity: float,
    legend: bool,
) -> Image.Image:
    """Draw a result; see :meth:`.SegmentationResult.plot`."""
    task = result.choose_task(task)
    image = result.image if image is None else image
    if image is None:
        raise ValueError(
            'This result does not hold its image: give it, as in '
            'result.plot(image=...), RGB uint8 of shape (H, W, 3).'
        )
    if image.shape[:2] != result.size:
        raise ValueError(
            f'The image is {image.shape[:2]} (height, width), its {task} '
            f'result {result.size}: pass the image that was given to the '
            'model, at its original size.'
        )
    colors = class_colors(len(result.classes), result.palette)
    segments = result.segments_of(task)
    if task == 'instance':
        segments = segments[::-1]  # the best on top
    regions = []
    seen: Counter[int] = Counter()
    for segment in segments:
        text = segment.name
        if task == 'instance' and segment.score is not None:
            text = f'{text} {segment.score:.2f}'
        color = tint(colors[segment.label], seen[segment.label])
        seen[segment.label] += 1
        regions.append(Region(segment.mask, color, text))
    drawing = draw_regions(image, regions, opacity)
    if legend:
        drawing = add_legend(
            drawing,
            [(result.classes[label], colors[label]) for label in sorted(seen)],
        )
    return Image.fromarray(drawing)
