"""Results in NumPy are those of the fusion head, except where scores tie."""

import tracemalloc

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.models import OneFormerFusionHead
from projects.oneformer.results import SegmentationResult
from projects.oneformer.runtime.description import Description
from projects.oneformer.runtime.postprocessing import (
    fuse_instance,
    fuse_panoptic,
    fuse_semantic,
)
from projects.oneformer.runtime.resized_masks import ResizedMasks, Sizes
from projects.oneformer.sample_result import result_of_sample
from projects.oneformer.tasks import RESULT_FIELDS
from tests.rounding import TIES, assert_same_labels

CLASSES = ('wall', 'cat', 'sky', 'dog', 'car', 'road')
THINGS = ('cat', 'dog', 'car')
SIZES = (
    Sizes((64, 96), (64, 96), (64, 96)),
    Sizes((64, 96), (50, 71), (37, 53)),
    Sizes((64, 96), (50, 71), (170, 331)),
)


def description(**options) -> Description:
    unused = dict.fromkeys(Description.__dataclass_fields__)
    thresholds = dict(object_mask_thr=0.4, iou_thr=0.6, max_per_image=None)
    return Description(
        **unused
        | dict(classes=CLASSES, thing_classes=THINGS)
        | thresholds
        | options
    )


def drawn_logits(seed: int, queries: int = 20) -> tuple[Tensor, Tensor]:
    """Return logits with which many queries compete."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(queries, 1, 4, 6, generator=generator)
    masks = F.interpolate(coarse, (16, 24), mode='bicubic')[:, 0]
    masks = 6 * masks - 4 + torch.randn(queries, 16, 24, generator=generator)
    scores = torch.randn(queries, len(CLASSES) + 1, generator=generator)
    return 4 * scores, masks


def by_torch(
    task: str, logits: tuple[Tensor, Tensor], sizes: Sizes, known: Description
) -> SegmentationResult:
    head = OneFormerFusionHead(
        len(CLASSES),
        [CLASSES.index(name) for name in THINGS],
        known.object_mask_thr,
        known.iou_thr,
        known.max_per_image,
    )
    meta = dict(
        zip(
            ('batch_input_shape', 'img_shape', 'ori_shape'), sizes, strict=True
        )
    )
    result: PixelData | InstanceData = head(task, *logits, meta)
    sample = DetDataSample()
    setattr(sample, RESULT_FIELDS[task], result)
    meta = dict(classes=CLASSES, thing_classes=THINGS)
    return result_of_sample(sample, meta, [task], score_thr=0.0)


@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('seed', range(6))
def test_panoptic_results_are_those_of_the_fusion_head(seed, sizes):
    known, logits = description(), drawn_logits(seed)
    expected = by_torch('panoptic', logits, sizes, known)
    scores, masks = (part.numpy() for part in logits)
    found = fuse_panoptic(scores, ResizedMasks(masks, sizes, 48), known)
    assert found.ids.dtype == np.int32 and expected.panoptic.any()
    assert_same_labels(found.ids, expected.panoptic)
    assert list(found.known) == [part.id for part in expected.segments]
    for part in expected.segments:
        label, score = found.known[part.id]
        assert label == part.label
        # The weights of a mean are areas, in which a few pixels may tie.
        assert score == pytest.approx(part.score, abs=1e-3)
        area = (found.ids == part.id).sum()
        assert abs(area - part.area) <= TIES * found.ids.size


@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('seed', range(3))
def test_semantic_results_are_those_of_the_fusion_head(seed, sizes):
    known, logits = description(), drawn_logits(seed)
    expected = by_torch('semantic', logits, sizes, known).semantic
    scores, masks = (part.numpy() for part in logits)
    found = fuse_semantic(scores, ResizedMasks(masks, sizes, 48), known)
    assert found.dtype == expected.dtype == np.uint8
    assert len(np.unique(expected)) > 2
    assert_same_labels(found, expected)


@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('max_per_image', [None, 9])
def test_instances_are_those_of_the_fusion_head(max_per_image, sizes):
    known, logits = description(max_per_image=max_per_image), drawn_logits(0)
    expected = by_torch('instance', logits, sizes, known).instances
    scores, masks = (part.numpy() for part in logits)
    found = fuse_instance(scores, ResizedMasks(masks, sizes, 48), known)
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.label == theirs.label
        # A mean over few pixels, of which some may tie.
        assert ours.score == pytest.approx(theirs.score, abs=2e-3)
        area = np.abs(decode(ours.rle).sum().astype(int) - theirs.area)
        assert area <= TIES * theirs.mask.size


def test_instances_take_far_less_memory_than_their_masks():
    size = (512, 768)
    scores, masks = (part.numpy() for part in drawn_logits(0, queries=64))
    resized = ResizedMasks(masks, Sizes(size, size, size))
    tracemalloc.start()
    try:
        found = fuse_instance(scores, resized, description())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) > 20
    # A byte for eight masks, and some arrays of one block or one mask.
    assert peak < 0.5 * len(found) * size[0] * size[1]


@pytest.mark.parametrize(
    'threshold', [dict(object_mask_thr=1.0), dict(iou_thr=1.1)]
)
def test_where_no_query_is_accepted_all_is_void(threshold):
    known, logits = description(**threshold), drawn_logits(0)
    scores, masks = (part.numpy() for part in logits)
    found = fuse_panoptic(scores, ResizedMasks(masks, SIZES[0]), known)
    assert not found.ids.any() and found.known == {}


def decode(rle: dict) -> np.ndarray:
    from pycocotools import mask as coco_mask

    return coco_mask.decode(rle)
