"""A drawing of a result."""

from collections import Counter

import numpy as np
from PIL import Image

from ..drawing import Region, add_legend, class_colors, draw_regions, tint
from .segment import Segment
from .task_results import TaskResults


def plot(
    result: TaskResults,
    task: str | None = None,
    image: np.ndarray | None = None,
    opacity: float = 0.5,
    legend: bool = False,
    labels: bool = True,
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
    regions = []
    segments = color_segments(result, task)
    for segment, color in segments:
        text = segment.name if labels else ''
        if labels and task == 'instance' and segment.score is not None:
            text = f'{text} {segment.score:.2f}'
        regions.append(Region(segment.mask, color, text))
    drawing = draw_regions(image, regions, opacity)
    if legend:
        colors = class_colors(len(result.classes), result.palette)
        present = sorted({segment.label for segment, _ in segments})
        drawing = add_legend(
            drawing,
            [(result.classes[label], colors[label]) for label in present],
        )
    return Image.fromarray(drawing)


def color_segments(
    result: TaskResults, task: str
) -> list[tuple[Segment, np.ndarray]]:
    """Return the segments of a task, the last on top, with RGB colours.

    Segments of one class have its colour in several tints.
    """
    colors = class_colors(len(result.classes), result.palette)
    segments = result.segments_of(task)
    if task == 'instance':
        segments = segments[::-1]  # the best on top
    seen: Counter[int] = Counter()
    colored = []
    for segment in segments:
        color = tint(colors[segment.label], seen[segment.label])
        seen[segment.label] += 1
        colored.append((segment, color))
    return colored
