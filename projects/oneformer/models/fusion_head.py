"""From queries to results: panoptic, instance and semantic."""

import math
from collections.abc import Iterator, Sequence

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.structures import InstanceData, PixelData
from torch import Tensor
from torch.nn import functional as F

from ..tasks import check_task, ignore_index
from .mask_blocks import Block, MaskBlocks, Workspace, mask_boxes

# Smaller class probabilities count as 0: products with them would be denormal
# float32 numbers, which are many times slower on a CPU.
TINY = 1e-30
# Sides of a block. On a CPU its logits should fit the cache: of a semantic
# block all queries are computed, of the others few. Other devices are faster
# with more work at a time.
CPU_BLOCKS = dict(panoptic=128, instance=128, semantic=64)
DEVICE_BLOCK = 512
# Relative margin of a bound, for rounding.
SLACK = 1e-5


@MODELS.register_module()
class OneFormerFusionHead(BaseModule):
    """Turn class scores and mask logits into the result of a task.

    Masks are resized to the image as logits, in two steps (network input,
    then original size), before any threshold. The result is computed block
    by block, from the queries that can matter in a block.

    Args:
        num_classes (int): Number of classes, K.
        thing_labels (Sequence[int]): Labels of the countable classes.
        object_mask_thr (float): Panoptic: class score that a query must
            exceed.
        iou_thr (float): Panoptic: share of its own mask that a segment must
            win from the other queries.
        max_per_image (int | None): Instance: number of best (query, class)
            pairs to select, before stuff is removed. None selects as many as
            there are queries.
        block_size (int | None): Height and width of the blocks. It bounds
            memory and does not change results. By default 128 on a CPU (64 for
            semantic results) and 512 elsewhere.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: If a threshold is not a finite number, or
            ``max_per_image`` or ``block_size`` is below 1.
    """

    def __init__(
        self,
        num_classes: int,
        thing_labels: Sequence[int],
        object_mask_thr: float = 0.8,
        iou_thr: float = 0.8,
        max_per_image: int | None = None,
        block_size: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        thresholds = dict(object_mask_thr=object_mask_thr, iou_thr=iou_thr)
        for name, value in thresholds.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(
                    f'Expected {name} to be a number, such as 0.8, got '
                    f'{value!r}.'
                )
        if max_per_image is not None and max_per_image < 1:
            raise ValueError(
                'Expected max_per_image of 1 or more, or None for as many as '
                f'there are queries, got {max_per_image}.'
            )
        if block_size is not None and block_size < 1:
            raise ValueError(
                'Expected block_size of 1 or more, or None for one that fits '
                f'the device, got {block_size}.'
            )
        self.num_classes = num_classes
        self.object_mask_thr = object_mask_thr
        self.iou_thr = iou_thr
        self.max_per_image = max_per_image
        self.block_size = block_size
        is_thing = torch.zeros(num_classes, dtype=torch.bool)
        is_thing[list(thing_labels)] = True
        self.register_buffer('is_thing', is_thing, persistent=False)

    def forward(
        self,
        task: str,
        cls_scores: Tensor,
        mask_preds: Tensor,
        metainfo: dict,
        rescale: bool = True,
    ) -> PixelData | InstanceData:
        """Return the result of one task for one image.

        Args:
            task (str): Which result.
            cls_scores (Tensor): Class logits, (Q, K + 1).
            mask_preds (Tensor): Mask logits at stride 4, (Q, H/4, W/4).
            metainfo (dict): ``batch_input_shape``, ``img_shape`` and, to
                rescale, ``ori_shape``, each (height, width); optionally
                ``semantic_scores`` (bool), for semantic results with scores.
            rescale (bool): Result in the size of the original image.

        Returns:
            PixelData | InstanceData: ``sem_seg`` (1, H, W) for panoptic
            (class + 1000 * instance, void = K; scores are in its metainfo,
            see :func:`panoptic_result`) and semantic (class), with
            ``scores`` (K, H, W) if wanted, see :meth:`fuse_semantic`;
            ``masks``, ``labels``, ``scores`` and ``bboxes`` for instance.

        Raises:
            ValueError: If the task is unknown, or panoptic with more classes
                than its code can hold.
        """
        check_task(task)
        cls_scores = cls_scores.float()
        on_cpu = mask_preds.device.type == 'cpu'
        default_size = CPU_BLOCKS[task] if on_cpu else DEVICE_BLOCK
        blocks = MaskBlocks(
            mask_preds.float(),
            metainfo,
            rescale,
            self.block_size or default_size,
        )
        if task == 'panoptic':
            return self.fuse_panoptic(cls_scores, blocks)
        if task == 'instance':
            return self.fuse_instance(cls_scores, blocks)
        return self.fuse_semantic(
            cls_scores, blocks, metainfo.get('semantic_scores', False)
        )

    def fuse_panoptic(
        self, cls_scores: Tensor, blocks: MaskBlocks
    ) -> PixelData:
        """Give every pixel the segment with the best score, or void.

        The score of a segment is the class score of its query. If several
        queries make one segment of stuff, it is their mean, weighted by
        pixels.
        """
        if self.num_classes >= INSTANCE_OFFSET:
            raise ValueError(
                f'A panoptic result (class + {INSTANCE_OFFSET} * instance) '
                f'can tell {INSTANCE_OFFSET - 1} classes apart, the model has '
                f'{self.num_classes}: leave panoptic out of test_cfg.tasks.'
            )
        scores, labels = cls_scores.softmax(-1).max(-1)  # (Q,)
        confident = (labels != self.num_classes) & (
            scores > self.object_mask_thr
        )
        queries = confident.nonzero()[:, 0]
        scores, labels = scores[queries], labels[queries]  # (M,)
        segments = torch.full(
            blocks.size,
            self.num_classes,
            dtype=torch.int32,
            device=scores.device,
        )
        codes = labels.to(segments.dtype)
        if len(scores):
            winner, inside, covered = compete(scores, queries, blocks)
            # Pixels that each query wins outside of its mask, and inside;
            # without bincount and boolean indices, for which the host waits.
            place = (winner + len(scores) * inside).flatten()
            ones = torch.ones_like(place, dtype=torch.int32)
            counts = ones.new_zeros(2 * len(scores))
            hidden, visible = counts.scatter_add_(0, place, ones).chunk(2)
            won = hidden + visible
            accepted = (visible > 0) & ~(won.double() / covered < self.iou_thr)
            things = self.is_thing[labels]
            # Things are numbered from 1 in query order; segments of one
            # stuff class share number 0 and so merge.
            number = (things & accepted).cumsum(0) * things
            codes = (labels + number * INSTANCE_OFFSET).to(segments.dtype)
            painted = inside & accepted[winner]
            segments = torch.where(painted, codes[winner], segments)
            # Weights of the queries in the mean of each, (M, M).
            same = codes[:, None] == codes
            weights = same * (visible * accepted).to(scores.dtype)
            scores = (weights @ scores) / weights.sum(1).clamp(min=1)
        return panoptic_result(segments, self.num_classes, codes, scores)

    def fuse_instance(
        self, cls_scores: Tensor, blocks: MaskBlocks
    ) -> InstanceData:
        """Return the best (query, class) pairs; masks may overlap."""
        scores = cls_scores.softmax(-1)[:, :-1].flatten()  # (Q * K,)
        top_k = self.max_per_image or len(cls_scores)
        scores, top = scores.topk(min(top_k, len(scores)), sorted=False)
        labels = top % self.num_classes
        things = self.is_thing[labels].nonzero()[:, 0]
        scores, labels, top = scores[things], labels[things], top[things]
        masks, quality = cut_out(top // self.num_classes, blocks)
        return InstanceData(
            bboxes=mask_boxes(masks),
            labels=labels,
            scores=scores * quality,
            masks=masks,
        )

    def fuse_semantic(
        self, cls_scores: Tensor, blocks: MaskBlocks, with_scores: bool = False
    ) -> PixelData:
        """Give every pixel the class with the largest score.

        Args:
            cls_scores (Tensor): Class logits, (Q, K + 1).
            blocks (MaskBlocks): Mask logits.
            with_scores (bool): Whether the result has ``scores``: class
                probability times mask probability, summed over the queries,
                (K, H, W). The values of a pixel do not add up to 1.
        """
        labels = cls_scores.new_empty(blocks.size, dtype=torch.int64)
        scores = None
        if with_scores:
            scores = cls_scores.new_empty(self.num_classes, *blocks.size)
        for block, total in sum_of_queries(cls_scores, blocks):
            labels[block.place] = best_class(total)
            if scores is not None:
                y, x = block.place
                scores[:, y, x] = total
        result = semantic_result(labels, self.num_classes)
        if scores is not None:
            result.scores = scores
        return result


def sum_of_queries(
    cls_scores: Tensor, blocks: MaskBlocks
) -> Iterator[tuple[Block, Tensor]]:
    """Yield each block with its semantic scores, (K, h, w).

    They are valid until the next ones.
    """
    probs = cls_scores.detach().softmax(-1)[:, :-1].T  # (K, Q)
    probs = probs.where(probs > TINY, 0).contiguous()
    workspace = Workspace(probs)
    for block in blocks:
        inside = blocks.logits(block).sigmoid_()  # (Q, h, w)
        size = inside.shape[1:]
        total = workspace.empty('total', (len(probs), size.numel()))
        torch.mm(probs, inside.flatten(1), out=total)
        yield block, total.unflatten(1, size)


def compete(
    scores: Tensor, queries: Tensor, blocks: MaskBlocks
) -> tuple[Tensor, Tensor, Tensor]:
    """Let queries compete for the pixels.

    Args:
        scores (Tensor): Class scores, (M,), M > 0.
        queries (Tensor): Indices of their masks, (M,).
        blocks (MaskBlocks): Mask logits.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Which query has the largest class
        score times mask probability, the first if several, (H, W); whether
        that mask probability is at least 0.5, (H, W); and how many pixels
        each query has with at least 0.5, (M,).
    """
    winner = queries.new_empty(blocks.size)
    inside = torch.empty_like(winner, dtype=torch.bool)
    covered = torch.zeros_like(queries, dtype=torch.int32)
    for block, own in blocks.active_blocks(
        may_matter(scores, queries, blocks)
    ):
        probs = blocks.logits(block, queries[own]).sigmoid_()  # (M', h, w)
        covered.index_add_(0, own, count(probs >= 0.5))
        # The first of equal ones; argmax alone is slower.
        first = (scores[own, None, None] * probs).max(0).indices
        winner[block.place] = own[first]
        inside[block.place] = probs.gather(0, first[None])[0] >= 0.5
    return winner, inside, covered


def may_matter(scores: Tensor, queries: Tensor, blocks: MaskBlocks) -> Tensor:
    """Return where a query may win a pixel or cover one, (M, blocks).

    A query whose best score in a block is below another's worst cannot win a
    pixel there. Parameters are those of :func:`compete`.
    """
    best = blocks.upper_bounds()[queries].sigmoid() * (1 + SLACK)
    worst = blocks.lower_bounds()[queries].sigmoid()
    scores = scores[:, None]
    return (best >= 0.5) | (scores * best + TINY >= (scores * worst).amax(0))


def cut_out(queries: Tensor, blocks: MaskBlocks) -> tuple[Tensor, Tensor]:
    """Threshold the masks of some queries.

    Args:
        queries (Tensor): Indices, (N,); they may repeat.
        blocks (MaskBlocks): Mask logits.

    Returns:
        tuple[Tensor, Tensor]: Where the logit is above 0, bool, (N, H, W),
        and the mean mask probability there, (N,).
    """
    masks = torch.zeros(
        (len(queries), *blocks.size), dtype=torch.bool, device=queries.device
    )
    # A query may appear with several classes: its mask is resized once.
    active = blocks.upper_bounds() > 0  # (Q, blocks)
    wanted = torch.zeros_like(active[:, 0]).index_fill_(0, queries, True)
    area = torch.zeros_like(wanted, dtype=torch.int32)
    excess = blocks.mask_preds.new_zeros(len(wanted))
    for block, own in blocks.active_blocks(active & wanted[:, None]):
        logits = blocks.logits(block, own)  # (Q', h, w)
        inside = logits > 0
        y, x = block.place
        # The last position is an empty mask, for queries not in the block.
        position = torch.full_like(wanted, len(own), dtype=torch.int64)
        position[own] = torch.arange(len(own), device=own.device)
        masks[:, y, x] = F.pad(inside, (0, 0, 0, 0, 0, 1)).index_select(
            0, position[queries]
        )
        area.index_add_(0, own, count(inside))
        # Inside, where the probability is above 0.5, this sums what exceeds
        # 0.5; elsewhere it adds nothing.
        over = logits.sigmoid_().sub_(0.5).clamp_(min=0)
        excess.index_add_(0, own, over.flatten(1).sum(1))
    quality = (excess + 0.5 * area) / (area + 1e-6)
    return masks, quality[queries]


def count(masks: Tensor) -> Tensor:
    """Return how many pixels each mask has, (M,), of bool (M, H, W)."""
    return masks.view(torch.uint8).flatten(1).sum(1, dtype=torch.int32)


def best_class(scores: Tensor) -> Tensor:
    """Return the label with the largest score, (H, W), of (K, H, W)."""
    # The first of equal ones; argmax alone is slower.
    return scores.max(0).indices


def semantic_result(labels: Tensor, num_classes: int) -> PixelData:
    """Return labels (H, W) as a result, ``sem_seg`` (1, H, W)."""
    result = PixelData(sem_seg=labels[None])
    # SemSegMetric ignores it in the ground truth; it is never predicted.
    result.set_metainfo(dict(ignore_index=ignore_index(num_classes)))
    return result


def panoptic_result(
    segments: Tensor, num_classes: int, codes: Tensor, scores: Tensor
) -> PixelData:
    """Return segments (H, W) as a result, ``sem_seg`` (1, H, W).

    Its metainfo has ``segment_codes`` and ``segment_scores``, as data of
    PixelData must have the size of the image; see :func:`segment_scores`.

    Args:
        segments (Tensor): class + 1000 * instance, (H, W).
        num_classes (int): Number of classes, which stands for void.
        codes (Tensor): Values of ``segments``, (M,). Some may repeat or have
            no pixel: to leave them out, the host would wait for a GPU.
        scores (Tensor): Theirs, 0 to 1, (M,).
    """
    result = PixelData(sem_seg=segments[None])
    result.set_metainfo(
        dict(
            ignore_index=num_classes,
            segment_codes=codes,
            segment_scores=scores.detach(),  # as it is copied
        )
    )
    return result
