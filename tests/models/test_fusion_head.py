"""Fusion agrees with its rules written out query by query, pixel by pixel."""

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from projects.oneformer.models import OneFormerFusionHead
from projects.oneformer.models.fusion_head import may_matter
from projects.oneformer.models.mask_blocks import MaskBlocks
from projects.oneformer.sample_result import segment_scores
from projects.oneformer.tasks import TASKS
from tests.panoptic_oracle import panoptic_by_the_rules
from tests.rounding import TIES, assert_same_labels

CLASSES = 6
THINGS = (1, 3, 4)
# The logits are those of the oracle to the bit, the rest is float32.
ROUNDING = 1e-6
PLAIN = dict(
    batch_input_shape=(32, 48), img_shape=(32, 48), ori_shape=(32, 48)
)
# An image enlarged, then padded at the bottom and on the right.
PADDED = dict(
    batch_input_shape=(64, 96), img_shape=(50, 71), ori_shape=(37, 53, 3)
)


def make_head(**options) -> OneFormerFusionHead:
    return OneFormerFusionHead(CLASSES, THINGS, **options)


def make_logits(
    queries: int = 12, meta: dict = PLAIN, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return class and mask logits in which many queries compete."""
    torch.manual_seed(seed)
    height, width = (side // 4 for side in meta['batch_input_shape'])
    coarse = torch.randn(queries, 1, 4, 6)
    masks = F.interpolate(coarse, (height, width), mode='bicubic')[:, 0]
    masks = 6 * masks - 6 + torch.randn(queries, height, width)
    return 4 * torch.randn(queries, CLASSES + 1), masks


def resized(masks: Tensor, meta: dict, rescale: bool = True) -> np.ndarray:
    """To the network input, without the padding, then to the image."""

    def resize(maps, size):
        return F.interpolate(
            maps[None], size, mode='bilinear', align_corners=False
        )[0]

    masks = resize(masks, meta['batch_input_shape'])
    height, width = meta['img_shape'][:2]
    masks = masks[:, :height, :width]
    if rescale:
        masks = resize(masks, meta['ori_shape'][:2])
    return masks.numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(x).sigmoid().numpy()


def softmax(x: Tensor) -> np.ndarray:
    return x.softmax(-1).numpy()


def semantic_by_hand(cls_scores: Tensor, masks: np.ndarray) -> np.ndarray:
    """Return the sum over queries for every class, (K, H, W)."""
    total = np.zeros((CLASSES, *masks.shape[1:]))
    for probs, mask in zip(softmax(cls_scores), masks, strict=True):
        for label in range(CLASSES):
            total[label] += float(probs[label]) * sigmoid(mask)
    return total


def instances_by_hand(
    cls_scores: Tensor, masks: np.ndarray, top_k: int
) -> list[tuple[int, float, np.ndarray]]:
    """Return label, score and mask of each instance, the best first."""
    pairs = []
    for query, probs in enumerate(softmax(cls_scores)):
        for label in range(CLASSES):
            pairs.append((float(probs[label]), query, label))
    pairs = sorted(pairs, reverse=True)[:top_k]
    found = []
    for prob, query, label in pairs:
        if label not in THINGS:
            continue
        mask = masks[query] > 0
        quality = (sigmoid(masks[query]) * mask).sum() / (mask.sum() + 1e-6)
        found.append((label, prob * quality, mask))
    return sorted(found, key=lambda instance: -instance[1])


def box_by_hand(mask: np.ndarray) -> list[int]:
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if len(rows) == 0:
        return [0, 0, 0, 0]
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize('meta', [PLAIN, PADDED], ids=['plain', 'padded'])
@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('thresholds', [(0.8, 0.8), (0.5, 0.8), (0.3, 0.3)])
@pytest.mark.parametrize('seed', range(4))
def test_panoptic_segments_are_those_of_the_rules(
    meta, rescale, thresholds, seed
):
    cls_scores, mask_preds = make_logits(20, meta, seed)
    head = make_head(object_mask_thr=thresholds[0], iou_thr=thresholds[1])
    result = head('panoptic', cls_scores, mask_preds, meta, rescale)
    expected, doubtful, _ = panoptic_by_the_rules(
        cls_scores,
        resized(mask_preds, meta, rescale),
        THINGS,
        *thresholds,
        ROUNDING,
    )
    assert result.sem_seg.shape == (1, *expected.shape)
    assert doubtful.mean() < 0.01
    np.testing.assert_array_equal(
        result.sem_seg[0].numpy()[~doubtful], expected[~doubtful]
    )


def test_the_random_inputs_cover_every_panoptic_rule():
    """Accepted and refused, things of one class, stuff that merges."""
    refused = merged = same_thing = 0
    for seed in range(4):
        cls_scores, mask_preds = make_logits(20, PLAIN, seed)
        expected = panoptic_by_the_rules(
            cls_scores, resized(mask_preds, PLAIN), THINGS, 0.3, 0.3, ROUNDING
        )
        accepted = expected.accepted
        labels = [label for _, label in accepted]
        repeated = {label for label in labels if labels.count(label) > 1}
        refused += 20 - len(accepted)
        merged += len(repeated - set(THINGS))
        same_thing += len(repeated & set(THINGS))
    assert min(refused, merged, same_thing) > 0


@pytest.mark.parametrize('meta', [PLAIN, PADDED], ids=['plain', 'padded'])
@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('side', [5, 32, None])
def test_semantic_labels_have_the_largest_sum_over_queries(
    meta, rescale, side
):
    cls_scores, mask_preds = make_logits(12, meta)
    head = make_head(block_size=side)
    result = head('semantic', cls_scores, mask_preds, meta, rescale)
    total = semantic_by_hand(cls_scores, resized(mask_preds, meta, rescale))
    assert result.sem_seg.shape == (1, *total.shape[1:])
    chosen = np.take_along_axis(total, result.sem_seg.numpy(), 0)[0]
    # Two classes may tie up to rounding.
    np.testing.assert_allclose(chosen, total.max(0), atol=1e-5)
    assert len(result.sem_seg.unique()) > 2


@pytest.mark.parametrize('meta', [PLAIN, PADDED], ids=['plain', 'padded'])
@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('top_k', [None, 7, 200])
def test_instances_are_the_best_pairs_of_query_and_class(meta, rescale, top_k):
    cls_scores, mask_preds = make_logits(20, meta, seed=3)
    head = make_head(max_per_image=top_k)
    result = head('instance', cls_scores, mask_preds, meta, rescale)
    expected = instances_by_hand(
        cls_scores, resized(mask_preds, meta, rescale), top_k or 20
    )
    assert len(result) == len(expected) > 0
    result = result[result.scores.argsort(descending=True)]
    for found, (label, score, mask) in zip(result, expected, strict=True):
        assert found.labels.item() == label
        assert found.scores.item() == pytest.approx(score, rel=1e-4)
        assert_same_labels(found.masks[0], mask)
        assert found.bboxes[0].tolist() == box_by_hand(found.masks[0].numpy())


def make_blobs(meta: dict, queries: int = 40) -> tuple[Tensor, Tensor]:
    """Return logits of small round masks, in which few queries meet."""
    generator = torch.Generator().manual_seed(0)
    height, width = (side // 4 for side in meta['batch_input_shape'])
    centre = torch.rand(queries, 2, 1, 1, generator=generator)
    y = torch.arange(height).view(-1, 1) - centre[:, 0] * height
    x = torch.arange(width) - centre[:, 1] * width
    cls_scores = 4 * torch.randn(queries, CLASSES + 1, generator=generator)
    return cls_scores, 8 - (y**2 + x**2)


BLOBS = dict(
    batch_input_shape=(128, 192), img_shape=(120, 190), ori_shape=(150, 140)
)


def test_panoptic_leaves_out_of_a_block_only_who_has_no_part_in_it():
    cls_scores, mask_preds = make_blobs(BLOBS)
    head = make_head(object_mask_thr=0.3, iou_thr=0.5, block_size=16)
    result = head('panoptic', cls_scores, mask_preds, BLOBS)
    # No two blobs come near a tie where one of them covers.
    expected, _, accepted = panoptic_by_the_rules(
        cls_scores, resized(mask_preds, BLOBS), THINGS, 0.3, 0.5, rounding=0
    )
    assert len(accepted) > 5
    np.testing.assert_array_equal(result.sem_seg[0].numpy(), expected)

    blocks = MaskBlocks(mask_preds, BLOBS, side=16)
    queries = torch.arange(len(mask_preds))
    matters = may_matter(torch.ones(len(queries)), queries, blocks)
    assert matters.any(0).all()  # someone wins every pixel
    assert matters.float().mean() < 0.3


def test_instances_are_looked_for_only_where_they_may_be(monkeypatch):
    looked_at = []

    def logits(self, block, queries=None):
        found = original(self, block, queries)
        looked_at.append(found.numel())
        return found

    original = MaskBlocks.logits
    monkeypatch.setattr(MaskBlocks, 'logits', logits)
    cls_scores, mask_preds = make_blobs(BLOBS)
    head = make_head(max_per_image=200, block_size=16)
    result = head('instance', cls_scores, mask_preds, BLOBS)
    expected = instances_by_hand(cls_scores, resized(mask_preds, BLOBS), 200)
    assert len(result) == len(expected) > 80  # queries appear several times
    result = result[result.scores.argsort(descending=True)]
    for found, (label, score, mask) in zip(result, expected, strict=True):
        assert found.labels.item() == label
        assert found.scores.item() == pytest.approx(score, rel=1e-4)
        assert_same_labels(found.masks[0], mask)
        assert found.bboxes[0].tolist() == box_by_hand(found.masks[0].numpy())
    assert sum(looked_at) < 0.2 * len(cls_scores) * result.masks[0].numel()


class Sizes(TorchDispatchMode):
    """Records the largest result of operators, by its type of number."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, Tensor):
                known = self.largest.get(part.dtype, 0)
                self.largest[part.dtype] = max(known, part.numel())
        return out


@pytest.mark.parametrize('task', TASKS)
def test_no_numbers_are_kept_in_the_size_of_the_image_per_query(task):
    queries, side = 40, 16
    cls_scores, mask_preds = make_blobs(BLOBS, queries)
    head = make_head(object_mask_thr=0.3, block_size=side)
    with Sizes() as sizes:
        result = head(task, cls_scores, mask_preds, BLOBS)
    height, width = BLOBS['ori_shape']
    # The logits at a quarter of the size are an input.
    bound = max(queries * side**2, mask_preds.numel())
    assert bound < CLASSES * height * width
    assert sizes.largest.pop(torch.float32) <= bound
    masks = sizes.largest.pop(torch.bool, 0)
    if task == 'instance':
        assert masks == result.masks.numel()
    else:
        assert masks <= height * width
    sizes.largest.pop(torch.uint8, 0)  # masks, seen as bytes
    assert max(sizes.largest.values()) <= max(height * width, bound)


def test_a_query_may_appear_with_several_classes():
    cls_scores, mask_preds = make_logits(1)
    cls_scores[:] = 0  # all classes alike
    result = make_head(max_per_image=6)(
        'instance', cls_scores, mask_preds, PLAIN
    )
    assert sorted(result.labels.tolist()) == sorted(THINGS)
    assert (result.masks == result.masks[0]).all()


def test_an_instance_with_an_empty_mask_scores_zero():
    cls_scores, mask_preds = make_logits(1)
    result = make_head(max_per_image=6)(
        'instance', cls_scores, mask_preds - 100, PLAIN
    )
    assert result.scores.tolist() == [0, 0, 0]
    assert not result.masks.any()
    assert not result.bboxes.any()


def sure_of(*labels: int) -> Tensor:
    """Class logits of queries that are sure of their labels."""
    cls_scores = torch.zeros(len(labels), CLASSES + 1)
    cls_scores[range(len(labels)), labels] = 20.0
    return cls_scores


def blocks(*columns: slice, logit: float = 20.0) -> Tensor:
    """Mask logits of queries that cover some columns of a 10 x 10 map."""
    masks = torch.full((len(columns), 10, 10), -logit)
    for mask, covered in zip(masks, columns, strict=True):
        mask[:, covered] = logit
    return masks


NO_RESIZE = dict(
    batch_input_shape=(10, 10), img_shape=(10, 10), ori_shape=(10, 10)
)


def panoptic_of(cls_scores: Tensor, masks: Tensor, **options) -> list[int]:
    """Return the ids of the first row."""
    result = make_head(**options)('panoptic', cls_scores, masks, NO_RESIZE)
    rows = result.sem_seg[0]
    assert (rows == rows[0]).all()
    return rows[0].tolist()


def test_no_query_kept_leaves_everything_void():
    masks = blocks(slice(0, 5), slice(5, 10))
    void = [CLASSES] * 10
    assert panoptic_of(sure_of(CLASSES, CLASSES), masks) == void
    unsure = torch.zeros(2, CLASSES + 1)
    assert panoptic_of(unsure, masks) == void
    assert panoptic_of(sure_of(1, 1)[:0], masks[:0]) == void


def test_the_score_must_exceed_the_threshold():
    cls_scores, masks = sure_of(1), blocks(slice(0, 10))
    score = float(cls_scores.softmax(-1).max())
    void = [CLASSES] * 10
    assert panoptic_of(cls_scores, masks, object_mask_thr=score) == void
    below = score - 1e-6
    assert panoptic_of(cls_scores, masks, object_mask_thr=below) != void


def test_stuff_of_one_class_merges_and_things_do_not():
    columns = [slice(2 * i, 2 * i + 2) for i in range(5)]
    ids = panoptic_of(sure_of(0, 3, 0, 3, 1), blocks(*columns))
    first, second, third = (
        label + number * INSTANCE_OFFSET
        for number, label in enumerate((3, 3, 1), start=1)
    )
    assert ids[::2] == [0, first, 0, second, third]


def test_what_no_query_covers_is_void():
    ids = panoptic_of(sure_of(1, 2), blocks(slice(0, 4), slice(6, 10)))
    thing = 1 + INSTANCE_OFFSET
    assert ids == 4 * [thing] + 2 * [CLASSES] + 4 * [2]


@pytest.mark.parametrize(
    'threshold, kept', [(0.8, True), (np.nextafter(0.8, 1), False)]
)
def test_a_share_of_exactly_the_threshold_is_enough(threshold, kept):
    # The first query covers five columns and loses one to the second.
    cls_scores = sure_of(1, 2)
    masks = blocks(slice(0, 5), slice(4, 10))
    masks[0] *= 0.1
    ids = panoptic_of(cls_scores, masks, iou_thr=threshold)
    thing = 1 + INSTANCE_OFFSET
    assert ids == 4 * [thing if kept else CLASSES] + 6 * [2]


def test_a_refused_thing_takes_no_number():
    # The middle thing loses most of its mask to the others.
    masks = blocks(slice(0, 5), slice(3, 7), slice(5, 10))
    masks[1] *= 0.1
    ids = panoptic_of(sure_of(1, 3, 4), masks)
    assert ids == 5 * [1 + INSTANCE_OFFSET] + 5 * [4 + 2 * INSTANCE_OFFSET]


def test_pixels_won_below_half_belong_to_the_share_but_stay_void():
    # Alone, the query wins all ten columns, and covers five of them.
    masks = blocks(slice(0, 5))
    ids = panoptic_of(sure_of(2), masks, iou_thr=1.9)
    assert ids == 5 * [2] + 5 * [CLASSES]
    assert panoptic_of(sure_of(2), masks, iou_thr=2.1) == [CLASSES] * 10


def test_an_empty_mask_leaves_no_segment():
    ids = panoptic_of(sure_of(1, 2), blocks(slice(0, 0), slice(0, 4)))
    assert ids == 4 * [2] + 6 * [CLASSES]


def test_masks_are_resized_as_logits_in_two_steps():
    cls_scores, mask_preds = make_logits(12, PADDED)
    once = F.interpolate(
        mask_preds[None], PADDED['ori_shape'][:2], mode='bilinear'
    )[0]
    twice = resized(mask_preds, PADDED)
    result = make_head(max_per_image=72)(
        'instance', cls_scores, mask_preds, PADDED
    )
    # Every query is there with each class of things.
    for masks, same in ((torch.from_numpy(twice), True), (once, False)):
        differ = result.masks[:, None] != (masks > 0)
        nearest = differ.float().mean((2, 3)).amin(0)  # of each query
        assert (nearest <= TIES).all() == same


@pytest.mark.parametrize('task', TASKS)
def test_half_precision_logits_are_fused_in_float32(task):
    cls_scores, mask_preds = (x.bfloat16() for x in make_logits())
    half = make_head()(task, cls_scores, mask_preds, PLAIN)
    full = make_head()(task, cls_scores.float(), mask_preds.float(), PLAIN)
    for key, value in full.items():
        assert getattr(half, key).equal(value)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="'depth'"):
        make_head()('depth', *make_logits(), PLAIN)


def test_the_fusion_head_adds_nothing_to_a_checkpoint():
    assert not make_head().state_dict()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('meta', [PLAIN, PADDED], ids=['plain', 'padded'])
def test_a_gpu_gives_the_results_of_a_cpu(meta):
    logits = make_logits(meta=meta)
    on_gpu = [part.cuda() for part in logits]
    head, other = make_head(), make_head().cuda()
    for task in ('panoptic', 'semantic'):
        found = other(task, *on_gpu, meta).sem_seg.cpu()
        expected = head(task, *logits, meta).sem_seg
        # Where two are equal up to rounding they may differ.
        assert (found == expected).float().mean() > 0.999
    found = other('instance', *on_gpu, meta)
    order = found.scores.cpu().argsort(descending=True)
    expected = head('instance', *logits, meta)
    torch.testing.assert_close(
        found.scores.cpu()[order],
        expected.scores.sort(descending=True).values,
    )


@pytest.mark.parametrize(
    'num_classes, ignored', [(255, 255), (256, 65535), (300, 65535)]
)
def test_the_ignored_value_of_a_semantic_result_is_no_class(
    num_classes, ignored
):
    head = OneFormerFusionHead(num_classes, range(2))
    masks = torch.randn(4, 8, 12)
    result = head('semantic', torch.randn(4, num_classes + 1), masks, PLAIN)
    assert result.ignore_index == ignored


def test_a_segment_has_the_mean_class_score_of_its_pixels():
    head = make_head(object_mask_thr=0.3, iou_thr=0.3)
    merged = 0
    for seed in range(4):
        cls_scores, masks = make_logits(seed=seed)
        result = head('panoptic', cls_scores, masks, PLAIN)
        scores = segment_scores(result)
        best = softmax(cls_scores).max(1)
        best[(softmax(cls_scores).argmax(1) == CLASSES) | (best <= 0.3)] = 0
        winner = (best[:, None, None] * sigmoid(resized(masks, PLAIN))).argmax(
            0
        )
        codes = result.sem_seg[0].numpy()
        for code in set(np.unique(codes).tolist()) - {CLASSES}:
            own = winner[codes == code]
            assert scores[code] == pytest.approx(best[own].mean(), abs=1e-5)
            merged += len(np.unique(own)) > 1
    assert merged  # some stuff is of several queries


def test_an_image_without_segments_has_no_scores():
    cls_scores, masks = make_logits()
    cls_scores[:, -1] = 50
    result = make_head()('panoptic', cls_scores, masks, PLAIN)
    assert segment_scores(result) == {}
