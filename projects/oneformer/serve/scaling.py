"""Results in another size."""

from dataclasses import replace

import cv2
import numpy as np

from ..results import Segment, SegmentationResult
from ..results.segment import encode_mask, segments_of_map


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return height and width, reduced to a longer side of at most ``side``.

    A smaller size comes back as it is.
    """
    factor = min(1.0, side / max(size))
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image, RGB uint8 (H, W, 3), of another height and width."""
    if image.shape[:2] == size:
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=method)


def resize_result(
    result: SegmentationResult, size: tuple[int, int]
) -> SegmentationResult:
    """Return a result in another size; each pixel takes the nearest value.

    Segments keep their ids and scores. One without a pixel left is dropped.

    Args:
        result (SegmentationResult): Any.
        size (tuple[int, int]): New height and width.
    """
    if size == result.size:
        return result
    maps: dict = {}
    if result.image is not None:
        maps['image'] = resize_image(result.image, size)
    if result.panoptic is not None:
        ids = resize_labels(result.panoptic, size)
        maps['panoptic'] = ids
        maps['segments'] = segments_of_map(
            ids,
            {s.id: (s.label, s.score) for s in result.segments or ()},
            result.classes,
            result.thing_classes,
        )
    if result.semantic is not None:
        maps['semantic'] = resize_labels(result.semantic, size)
    if result.instances is not None:
        maps['instances'] = _resize_segments(result.instances, size)
        maps['hidden'] = tuple(_resize_segments(result.hidden, size))
    height, width = size
    return replace(result, height=height, width=width, **maps)


def in_full_size(
    result: SegmentationResult, size: tuple[int, int], score_thr: float
) -> SegmentationResult:
    """Return a result for files: in the size of its upload.

    Args:
        result (SegmentationResult): With instances of all scores.
        size (tuple[int, int]): Height and width of the upload.
        score_thr (float): Instances with a lower score are dropped.
    """
    shown = replace(result.filter(score_thr), hidden=())
    return resize_result(shown, size)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map, (H, W), of another size; pixels take the nearest value.

    By index, as OpenCV does not resize np.int32 by the nearest.
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def _resize_segments(segments, size: tuple[int, int]) -> list[Segment]:
    resized = []
    for segment in segments:
        mask = resize_labels(segment.mask, size)
        if mask.any():
            resized.append(
                Segment.from_rle(
                    encode_mask(mask),
                    id=segment.id,
                    label=segment.label,
                    name=segment.name,
                    is_thing=segment.is_thing,
                    score=segment.score,
                )
            )
    return resized
