"""A result that is small enough to be written out."""

import numpy as np
import pytest

from projects.oneformer.results import Segment, SegmentationResult
from projects.oneformer.results.segment import encode_mask, segments_of_map

CLASSES = ('cat', 'road', 'sky')
# The sky, two cats side by side, of which the second has a hole of void, and
# void below.
PANOPTIC = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
        [2, 2, 2, 0, 3, 3, 3, 0],
        [2, 2, 2, 0, 3, 0, 3, 0],
        [2, 0, 0, 0, 3, 3, 3, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ],
    np.int32,
)
KNOWN = {1: (2, 0.95), 2: (0, 0.9), 3: (0, 0.6)}  # label and score by id


def instance(id: int, mask: np.ndarray, score: float) -> Segment:
    return Segment.from_rle(encode_mask(mask), id, 0, 'cat', True, score)


@pytest.fixture
def result() -> SegmentationResult:
    semantic = np.full(PANOPTIC.shape, 255, np.uint8)
    semantic[PANOPTIC == 1] = 2
    semantic[PANOPTIC > 1] = 0
    overlapping = PANOPTIC >= 2
    return SegmentationResult(
        height=6,
        width=8,
        classes=CLASSES,
        thing_classes=('cat',),
        palette=((220, 20, 60), (128, 64, 128), (70, 130, 180)),
        category_ids=(17, 149, 187),
        image_name='photos/two cats.jpg',
        image=np.full((6, 8, 3), 90, np.uint8),
        panoptic=PANOPTIC,
        segments=segments_of_map(PANOPTIC, KNOWN, CLASSES, ('cat',)),
        semantic=semantic,
        instances=[
            instance(1, PANOPTIC == 2, 0.9),
            instance(2, overlapping, 0.6),
            instance(3, PANOPTIC == 3, 0.2),
        ],
    )
