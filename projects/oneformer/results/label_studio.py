"""Predictions that Label Studio imports."""

import base64
from collections.abc import Collection
from io import BytesIO

import numpy as np
from PIL import Image

from .segment import Segment
from .task_results import TaskResults

KINDS = ('brush', 'bitmask', 'polygon')


def to_label_studio(
    result: TaskResults,
    task: str | None,
    kind: str,
    classes: Collection[str] | None,
    image_url: str | None,
    from_name: str,
    to_name: str,
    model_version: str,
) -> dict:
    """See :meth:`.SegmentationResult.to_label_studio`."""
    if kind not in KINDS:
        raise ValueError(
            f'Unknown kind {kind!r} of labels: expected one of '
            f'{", ".join(KINDS)}.'
        )
    regions: list[dict] = []
    segments = result.segments_of(task, classes)
    for segment in segments:
        for value in _values(segment, kind, result.size):
            region = dict(
                id=f'{kind}-{len(regions) + 1}',
                type=f'{kind}labels',
                from_name=from_name,
                to_name=to_name,
                original_width=result.width,
                original_height=result.height,
                image_rotation=0,
                value={**value, f'{kind}labels': [segment.name]},
                meta=dict(category_id=result.category_id(segment.label)),
            )
            if segment.score is not None:
                region['score'] = segment.score
            regions.append(region)
    prediction: dict = dict(model_version=model_version, result=regions)
    scores = [s.score for s in segments if s.score is not None]
    if scores:
        prediction['score'] = min(scores)  # sorts by what to look at first
    return dict(
        data={to_name: image_url or result.image_name},
        predictions=[prediction],
    )


def _values(segment: Segment, kind: str, size: tuple[int, int]) -> list[dict]:
    """Return the regions of a segment: one, or one for each polygon."""
    height, width = size
    if kind == 'polygon':
        return [
            dict(
                # Divided last: no point may lie beyond 100 %.
                points=(100 * polygon / [width, height]).tolist(),
                closed=True,
            )
            for polygon in segment.polygons(tolerance=1.0)
        ]
    pixels = segment.mask.astype(np.uint8) * 255
    if kind == 'brush':
        from label_studio_sdk.converter.brush import mask2rle

        return [dict(format='rle', rle=mask2rle(pixels))]
    content = BytesIO()
    Image.fromarray(pixels).save(content, 'PNG')
    code = base64.b64encode(content.getvalue()).decode()
    return [dict(imageDataURL=f'data:image/png;base64,{code}')]
