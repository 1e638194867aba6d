"""Drawings as HTML that names the segment under the pointer.

gradio's ``AnnotatedImage`` does not: it writes one image of full size for
each segment, and a segment is named in the legend alone.
"""

import base64
from html import escape

import cv2
import numpy as np

from ..results import SegmentationResult
from ..results.plot import color_segments
from .scaling import fit, resize_labels

MAP_SIDE = 400  # of the map of ids that a browser gets


def viewer_html(
    result: SegmentationResult, tasks: list[str], opacity: float
) -> str:
    """Return a panel for each task: drawing, map of ids, and segments.

    Args:
        result (SegmentationResult): With its image.
        tasks (list[str]): Tasks that it has results of.
        opacity (float): Of the colours, 0 to 1.
    """
    panels = [_panel(result, task, opacity) for task in tasks]
    return f'<div class="panels">{"".join(panels)}</div>'


def message_html(text: str) -> str:
    """Return what stands in the place of drawings."""
    return f'<p class="message">{escape(text)}</p>'


def id_runs(
    result: SegmentationResult, task: str, side: int = MAP_SIDE
) -> tuple[int, int, list[int]]:
    """Return which segment is on top at each pixel of a small map.

    Args:
        result (SegmentationResult): Has the task.
        task (str): Any.
        side (int): Longer side of the map, if the image is larger.

    Returns:
        tuple[int, int, list[int]]: Height and width, and runs, row by row:
        id, length, id, length, ...; the id 0 is no segment.
    """
    height, width = fit(result.size, side)
    ids = np.zeros(result.size, np.int32)
    for segment, _ in color_segments(result, task):
        ids[segment.mask] = segment.id
    values = resize_labels(ids, (height, width)).ravel()
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    lengths = np.diff(starts, append=len(values))
    runs = np.stack([values[starts], lengths], axis=1)
    return height, width, runs.ravel().tolist()


def _panel(result: SegmentationResult, task: str, opacity: float) -> str:
    drawing = np.asarray(result.plot(task, opacity=opacity))
    height, width, runs = id_runs(result, task)
    colored = color_segments(result, task)
    if task == 'instance':
        colored = colored[::-1]  # the best first
    else:
        colored = sorted(colored, key=lambda pair: -pair[0].area)
    count = f'{len(colored)} segment{"" if len(colored) == 1 else "s"}'
    rows = [
        _row(segment, color, result.height * result.width)
        for segment, color in colored
    ]
    table = (
        f'<table><caption>{count}</caption><thead><tr>'
        '<th scope="col">segment</th><th scope="col">score</th>'
        '<th scope="col">area</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table>'
    )
    names = ', '.join(dict.fromkeys(s.name for s, _ in colored))
    return (
        f'<figure class="panel" data-task="{task}" data-height="{height}" '
        f'data-width="{width}" data-runs="{" ".join(map(str, runs))}">'
        f'<figcaption>{task}</figcaption><div class="stage" '
        # A high image has to fit on the screen.
        f'style="max-width:calc(75vh * {width / height:.3f})">'
        f'<img src="{_jpeg(drawing)}" '
        f'alt="{task}: {escape(names or "nothing found")}">'
        '<canvas aria-hidden="true"></canvas>'
        '<span class="tip" role="status"></span></div>'
        f'<div class="segments">{table}</div></figure>'
    )


def _row(segment, color: np.ndarray, pixels: int) -> str:
    score = '–' if segment.score is None else f'{segment.score:.2f}'
    share = 100 * segment.area / pixels
    text = escape(segment.name)
    title = f'{text} {score}' if segment.score is not None else text
    background = ','.join(str(int(value)) for value in color)
    return (
        f'<tr data-id="{segment.id}"><td><button type="button" '
        f'aria-pressed="false" data-title="{title}">'
        f'<span class="swatch" style="background:rgb({background})"></span>'
        f'{text}</button></td><td>{score}</td><td>{share:.1f} %</td></tr>'
    )


def _jpeg(drawing: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, 90]
    _, content = cv2.imencode('.jpg', drawing[..., ::-1], options)
    text = base64.b64encode(content.tobytes()).decode()
    return f'data:image/jpeg;base64,{text}'
