"""Results equal those of the reference's rules, worked out independently.

First a few pixels by hand, rule by rule, then random logits against the rules
in plain NumPy: double precision, loops, an interpolation of its own.
"""

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch import Tensor

from projects.oneformer.models import OneFormerFusionHead
from projects.oneformer.models.fusion_head import compete
from projects.oneformer.models.mask_blocks import MaskBlocks
from projects.oneformer.tasks import TASKS
from tests.panoptic_oracle import (
    ROUNDING,
    panoptic_by_the_rules,
    sigmoid,
    softmax,
)
from tests.rounding import assert_same_instances, assert_same_labels


def probabilities(rows: list[list[float]]) -> Tensor:
    """Return logits whose softmax are the rows."""
    return torch.tensor(rows).log()


def one_row_masks(rows: list[list[float]]) -> Tensor:
    """Return logits of masks one pixel high, by their probabilities."""
    return torch.tensor(rows).logit()[:, None]


def semantic_scores(
    head: OneFormerFusionHead, cls_scores: Tensor, masks: Tensor, meta: dict
) -> Tensor:
    """Return the scores behind a semantic result, (K, H, W)."""
    meta = dict(meta, semantic_scores=True)
    return head('semantic', cls_scores, masks, meta).scores


def masks_of(logits: Tensor, side: int) -> MaskBlocks:
    """Return the blocks of masks that have the size of the image."""
    size = logits.shape[1:]
    keys = ('batch_input_shape', 'img_shape', 'ori_shape')
    return MaskBlocks(logits, dict.fromkeys(keys, size), side=side)


def fuse(head: OneFormerFusionHead, task: str, *logits: Tensor):
    """Return the result for an image of the size of its mask logits."""
    size = logits[1].shape[1:]
    meta = dict(batch_input_shape=size, img_shape=size, ori_shape=size)
    return head(task, *logits, meta)


# Five queries, six pixels; class 0 is a thing, 1 stuff, 2 no object.
PANOPTIC_SCORES = probabilities(
    [
        [0.90, 0.05, 0.05],
        [0.10, 0.70, 0.20],
        [0.60, 0.20, 0.20],
        [0.01, 0.01, 0.98],
        [0.40, 0.55, 0.05],
    ]
)
PANOPTIC_MASKS = one_row_masks(
    [
        [0.9, 0.8, 0.6, 0.4, 0.1, 0.1],
        [0.1, 0.3, 0.9, 0.8, 0.6, 0.1],
        [0.1, 0.1, 0.1, 0.5, 0.9, 0.8],
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.9],
        [0.1, 0.1, 0.1, 0.9, 0.1, 0.9],
    ]
)
FIRST, SECOND = INSTANCE_OFFSET, 2 * INSTANCE_OFFSET
STUFF, VOID = 1, 2


@pytest.mark.parametrize(
    'object_thr, iou_thr, expected',
    [
        # Pixels won by queries 0 0 1 1 2 4: of what they cover (the 0.5 of
        # query 2 counts) the queries 0, 1, 2, 4 keep 2/3, 2/3, 1/3, 1/2.
        (0.5, 0.8, 6 * [VOID]),
        (0.5, 0.6, [FIRST, FIRST, STUFF, STUFF, VOID, VOID]),
        # Exactly the threshold is enough; the two stuff queries merge.
        (0.5, 0.5, [FIRST, FIRST, STUFF, STUFF, VOID, STUFF]),
        (0.5, 0.4, [FIRST, FIRST, STUFF, STUFF, VOID, STUFF]),
        (0.5, 0.3, [FIRST, FIRST, STUFF, STUFF, SECOND, STUFF]),
        # Only query 0 is left: it wins all six pixels, twice what it covers.
        (0.8, 0.8, [FIRST, FIRST, FIRST, VOID, VOID, VOID]),
        (0.95, 0.8, 6 * [VOID]),
    ],
)
def test_panoptic_pixels_worked_out_by_hand(object_thr, iou_thr, expected):
    head = OneFormerFusionHead(2, [0], object_thr, iou_thr)
    result = fuse(head, 'panoptic', PANOPTIC_SCORES, PANOPTIC_MASKS)
    assert result.sem_seg.tolist() == [[expected]]


INSTANCE_SCORES = probabilities([[0.5, 0.3, 0.1, 0.1], [0.2, 0.05, 0.6, 0.15]])
# What is at 0.5 is not in the mask: (0.9 + 0.6) / 2, then 0.8.
INSTANCE_MASKS = one_row_masks([[0.9, 0.6, 0.5, 0.2], [0.1, 0.5, 0.8, 0.5]])
QUALITIES = (0.75, 0.8)
IN_MASK = ([True, True, False, False], [False, False, True, False])


@pytest.mark.parametrize(
    'things, top_k, expected',  # class probability, query, label
    [
        ([0, 2], None, [(0.6, 1, 2), (0.5, 0, 0)]),
        ([0, 2], 1, [(0.6, 1, 2)]),
        # Things are chosen among the best, not the best among the things.
        ([1, 2], None, [(0.6, 1, 2)]),
        ([1, 2], 3, [(0.6, 1, 2), (0.3, 0, 1)]),
        # One query with several labels.
        ([2, 1, 0], 4, [(0.6, 1, 2), (0.5, 0, 0), (0.3, 0, 1), (0.2, 1, 0)]),
        ([], None, []),
    ],
)
def test_instances_worked_out_by_hand(things, top_k, expected):
    head = OneFormerFusionHead(3, things, max_per_image=top_k)
    result = fuse(head, 'instance', INSTANCE_SCORES, INSTANCE_MASKS)
    found = [
        (score, label, masks[0])
        for score, label, masks in zip(
            result.scores.tolist(),
            result.labels.tolist(),
            result.masks.tolist(),
            strict=True,
        )
    ]
    wanted = [
        (pytest.approx(prob * QUALITIES[query]), label, IN_MASK[query])
        for prob, query, label in expected
    ]
    # By class probability, then by label: an order that both have.
    assert sorted(found, key=lambda item: item[1:]) == sorted(
        wanted, key=lambda item: item[1:]
    )


def test_semantic_pixels_worked_out_by_hand():
    cls_scores = probabilities([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    masks = one_row_masks([[0.4, 0.1, 0.01], [0.9, 0.9, 0.01]])
    head = OneFormerFusionHead(2, [])
    meta = dict(batch_input_shape=(1, 3), img_shape=(1, 3), ori_shape=(1, 3))
    torch.testing.assert_close(
        semantic_scores(head, cls_scores, masks, meta),
        torch.tensor([[[0.37, 0.16, 0.008]], [[0.35, 0.29, 0.005]]]),
    )
    # No pixel is void, not even the last.
    result = head('semantic', cls_scores, masks, meta)
    assert result.sem_seg.tolist() == [[[0, 1, 0]]]


def test_where_nothing_is_found_only_panoptic_is_empty():
    cls_scores = probabilities([[0.01, 0.02, 0.97]] * 3)
    masks = one_row_masks([[0.9, 0.2]] * 3)
    head = OneFormerFusionHead(2, [1])
    panoptic = fuse(head, 'panoptic', cls_scores, masks)
    assert panoptic.sem_seg.tolist() == [[[2, 2]]]
    # No threshold on the scores of instances.
    instances = fuse(head, 'instance', cls_scores, masks)
    expected = pytest.approx(3 * [0.02 * 0.9], rel=1e-5)
    assert instances.scores.tolist() == expected
    semantic = fuse(head, 'semantic', cls_scores, masks)
    assert semantic.sem_seg.tolist() == [[[1, 1]]]


# From here on: random logits against the rules in NumPy.
SIZES = {
    'plain': ((32, 64), (32, 64), (32, 64)),
    'padded': ((64, 96), (50, 71), (37, 53)),
    'enlarged': ((32, 32), (31, 17), (75, 41)),
    'one column': ((32, 32), (32, 3), (21, 1)),
    'other shape': ((64, 32), (33, 32), (20, 45)),
}
CLASSES = {
    'mixed': (6, [4, 1, 3]),
    'stuff first': (9, [7, 8]),
    'one thing': (1, [0]),
    'one stuff': (1, []),
    'all things': (4, [3, 2, 1, 0]),
}
THRESHOLDS = [(0.5, 0.8), (0.8, 0.8)]  # ADE20K; the others


@pytest.fixture(params=SIZES)
def meta(request):
    keys = ('batch_input_shape', 'img_shape', 'ori_shape')
    return dict(zip(keys, SIZES[request.param], strict=True))


@pytest.fixture(params=CLASSES)
def classes(request):
    return CLASSES[request.param]


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate (H, W): pixel centres at half, edges repeated."""
    for axis, length in enumerate(size):
        image = np.moveaxis(image, axis, 0)
        rows = []
        for i in range(length):
            place = (i + 0.5) * len(image) / length - 0.5
            place = min(max(place, 0), len(image) - 1)
            low = int(place)
            high = min(low + 1, len(image) - 1)
            share = place - low
            rows.append((1 - share) * image[low] + share * image[high])
        image = np.moveaxis(np.array(rows), 0, axis)
    return image


def image_logits(mask_preds: Tensor, meta: dict) -> np.ndarray:
    """Network input, padding off, original image, (Q, H, W)."""
    height, width = meta['img_shape']
    logits = []
    for mask in mask_preds.double().numpy():
        mask = bilinear(mask, meta['batch_input_shape'])[:height, :width]
        logits.append(bilinear(mask, meta['ori_shape']))
    return np.array(logits)


def random_logits(num_classes: int, meta: dict, seed: int):
    """Return logits of 9 queries, each a rough box, some overlapping."""
    rng = np.random.default_rng(seed)
    height, width = (side // 4 for side in meta['batch_input_shape'])
    masks = rng.normal(-5, 2, (9, height, width))
    for mask in masks:
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + height // 2 + 1, x : x + width // 2 + 1] += 9
    cls_scores = rng.normal(0, 1, (9, num_classes + 1))
    favourites = rng.integers(0, num_classes + 1, 9)
    cls_scores[range(9), favourites] += rng.uniform(1, 6, 9)
    return (
        torch.tensor(cls_scores, dtype=torch.float32),
        torch.tensor(masks, dtype=torch.float32),
    )


@pytest.mark.parametrize('thresholds', THRESHOLDS, ids=str)
@pytest.mark.parametrize('seed', range(3))
def test_panoptic_follows_the_rules(meta, classes, thresholds, seed):
    num_classes, things = classes
    cls_scores, mask_preds = random_logits(num_classes, meta, seed)
    head = OneFormerFusionHead(num_classes, things, *thresholds)
    result = head('panoptic', cls_scores, mask_preds, meta)
    expected, doubtful, _ = panoptic_by_the_rules(
        cls_scores, image_logits(mask_preds, meta), things, *thresholds
    )
    found = result.sem_seg[0].numpy()
    assert doubtful.mean() < 0.01
    np.testing.assert_array_equal(found[~doubtful], expected[~doubtful])


def test_the_random_images_have_segments_of_every_kind():
    """Void, stuff, one thing and several, also two of one class."""
    keys = ('batch_input_shape', 'img_shape', 'ori_shape')
    meta = dict(zip(keys, SIZES['padded'], strict=True))
    num_classes, things = CLASSES['mixed']
    seen = set()
    for seed in range(3):
        cls_scores, mask_preds = random_logits(num_classes, meta, seed)
        codes, _, _ = panoptic_by_the_rules(
            cls_scores, image_logits(mask_preds, meta), things, 0.5, 0.8
        )
        seen |= set(np.unique(codes).tolist())
    assert num_classes in seen
    assert any(code < num_classes for code in seen)
    assert any(code // INSTANCE_OFFSET >= 2 for code in seen)


@pytest.mark.parametrize('seed', range(3))
def test_semantic_follows_the_rules(meta, classes, seed):
    num_classes, things = classes
    cls_scores, mask_preds = random_logits(num_classes, meta, seed)
    scores = np.zeros((num_classes, *meta['ori_shape']))
    for row, mask in zip(
        softmax(cls_scores), image_logits(mask_preds, meta), strict=True
    ):
        for label in range(num_classes):
            scores[label] += row[label] * sigmoid(mask)
    head = OneFormerFusionHead(num_classes, things)
    found = semantic_scores(head, cls_scores, mask_preds, meta)
    rounding = 5 * ROUNDING  # scores are sums over all queries
    np.testing.assert_allclose(found.numpy(), scores, rtol=0, atol=rounding)
    labels = head('semantic', cls_scores, mask_preds, meta).sem_seg[0]
    ranked = np.sort(scores, 0)
    clear = np.full(scores.shape[1:], True)
    if num_classes > 1:
        clear = ranked[-1] - ranked[-2] > 2 * rounding
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(
        labels.numpy()[clear], scores.argmax(0)[clear]
    )


@pytest.mark.parametrize('top_k', [None, 4, 1000])
@pytest.mark.parametrize('seed', range(3))
def test_instances_follow_the_rules(meta, classes, top_k, seed):
    num_classes, things = classes
    cls_scores, mask_preds = random_logits(num_classes, meta, seed)
    logits = image_logits(mask_preds, meta)
    probs = softmax(cls_scores)
    pairs = [
        (probs[query, label], query, label)
        for query in range(len(probs))
        for label in range(num_classes)
    ]
    pairs.sort(reverse=True)
    expected = {}
    for prob, query, label in pairs[: top_k or len(probs)]:
        if label in things:
            mask = logits[query] > 0
            quality = (sigmoid(logits[query]) * mask).sum()
            quality /= mask.sum() + 1e-6
            expected[float(prob)] = (label, prob * quality, query)

    head = OneFormerFusionHead(num_classes, things, max_per_image=top_k)
    result = head('instance', cls_scores, mask_preds, meta)
    assert len(result) == len(expected)
    by_label = sorted(expected.values())
    order = np.lexsort((result.scores.numpy(), result.labels.numpy()))
    for i, (label, score, query) in zip(order, by_label, strict=True):
        assert result.labels[i] == label
        assert result.scores[i].item() == pytest.approx(score, rel=1e-4)
        clear = abs(logits[query]) > 1e-4
        np.testing.assert_array_equal(
            result.masks[i].numpy()[clear], (logits[query] > 0)[clear]
        )


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('side', [1, 7, 100])
def test_the_size_of_the_blocks_changes_nothing(meta, task, side):
    logits = random_logits(6, meta, seed=0)
    whole = OneFormerFusionHead(6, [1, 3])(task, *logits, meta)
    parts = OneFormerFusionHead(6, [1, 3], block_size=side)(
        task, *logits, meta
    )
    if task == 'instance':
        assert_same_instances(parts, whole)
    else:
        assert_same_labels(parts.sem_seg, whole.sem_seg)


# Equal, equal after rounding to 1, and so small that float32 has none of it.
@pytest.mark.parametrize('logits', [(2, 2), (20, 30), (30, 20), (-200, -150)])
@pytest.mark.parametrize('side', [1, 2])
def test_of_two_equal_queries_the_first_wins_in_blocks_too(logits, side):
    cls_scores = probabilities([[0.9, 0.05, 0.05]] * 3)
    masks = torch.tensor([-300, *logits]).float().view(3, 1, 1)
    head = OneFormerFusionHead(2, [0], iou_thr=0, block_size=side)
    result = fuse(head, 'panoptic', cls_scores, masks.expand(3, 1, 2))
    expected = FIRST if max(logits) > 0 else VOID
    assert result.sem_seg.tolist() == [[[expected, expected]]]
    # The loser covers as much, and has no pixel.
    queries = torch.arange(3)
    winner, inside, covered = compete(
        torch.ones(3), queries, masks_of(masks.expand(3, 1, 2), side)
    )
    first = 1 if max(logits) > 0 else 0
    assert winner.tolist() == [[first, first]]
    assert inside.tolist() == [[max(logits) > 0] * 2]
    assert covered.tolist() == [0] + [2 * (logit > 0) for logit in logits]


def test_a_logit_that_rounds_to_one_half_is_covered():
    cls_scores = probabilities([[0.9, 0.05, 0.05]])
    masks = torch.full((1, 2, 2), -1e-8)
    assert masks.sigmoid().eq(0.5).all()
    head = OneFormerFusionHead(2, [0])
    result = fuse(head, 'panoptic', cls_scores, masks)
    assert result.sem_seg.eq(FIRST).all()
    # Which an instance is not: its logits must be above 0.
    assert not fuse(head, 'instance', cls_scores, masks).masks.any()


@pytest.mark.parametrize('task', TASKS)
def test_no_queries_at_all_give_an_empty_result(task):
    head = OneFormerFusionHead(2, [0])
    result = fuse(head, task, torch.zeros(0, 3), torch.zeros(0, 2, 5))
    if task == 'instance':
        assert result.masks.shape == (0, 2, 5)
        assert result.bboxes.shape == (0, 4)
        assert len(result) == 0
    else:
        nothing = 2 if task == 'panoptic' else 0
        assert result.sem_seg.tolist() == [2 * [5 * [nothing]]]


def test_probabilities_that_products_would_make_denormal_are_none():
    cls_scores = torch.tensor([[0.0, -95.0, -30.0, 0.0]])
    assert 0 < float(cls_scores.softmax(-1)[0, 1]) < 1e-38
    meta = dict.fromkeys(
        ('batch_input_shape', 'img_shape', 'ori_shape'), (1, 1)
    )
    scores = semantic_scores(
        OneFormerFusionHead(3, []),
        cls_scores,
        torch.full((1, 1, 1), 50.0),
        meta,
    )
    assert scores[1].item() == 0
    assert scores[2].item() == pytest.approx(np.exp(-30) / 2)


@pytest.mark.parametrize('option', ['max_per_image', 'block_size'])
@pytest.mark.parametrize('value', [0, -1])
def test_a_count_below_one_is_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} of 1 or more.*got'):
        OneFormerFusionHead(2, [0], **{option: value})


def test_more_classes_than_a_panoptic_code_holds_are_refused():
    cls_scores, masks = torch.zeros(2, 1001), torch.zeros(2, 1, 2)
    head = OneFormerFusionHead(1000, [0])
    with pytest.raises(ValueError, match='tell 999 classes apart'):
        fuse(head, 'panoptic', cls_scores, masks)
    assert fuse(head, 'semantic', cls_scores, masks).sem_seg.shape == (1, 1, 2)
