"""From queries to results: panoptic, instance and semantic."""

from collections.abc import Callable, Sequence

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmdet.structures.mask import mask2bbox
from mmengine.model import BaseModule
from mmengine.structures import InstanceData, PixelData
from torch import Tensor
from torch.nn import functional as F

from ..tasks import check_task

# Mask logits (M, H/4, W/4) -> (M, height, width) of the result.
Resize = Callable[[Tensor], Tensor]


@MODELS.register_module()
class OneFormerFusionHead(BaseModule):
    """Turn class scores and mask logits into the result of a task.

    Masks are resized to the picture as logits, in two steps (network input,
    then original size), before any threshold. Queries that cannot take part
    are dropped by their class scores before that.

    Args:
        num_classes (int): Number of classes, K.
        thing_labels (Sequence[int]): Labels of the countable classes.
        object_mask_thr (float): Panoptic: class score that a query must
            exceed.
        iou_thr (float): Panoptic: share of its own mask that a segment must
            keep in the competition for pixels.
        max_per_image (int | None): Instance: scores kept, things or not.
            None keeps as many as there are queries.
        query_chunk (int): Queries resized at a time, which bounds memory and
            changes no result.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: If ``max_per_image`` or ``query_chunk`` is below 1.
    """

    def __init__(
        self,
        num_classes: int,
        thing_labels: Sequence[int],
        object_mask_thr: float = 0.8,
        iou_thr: float = 0.8,
        max_per_image: int | None = None,
        query_chunk: int = 32,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if max_per_image is not None and max_per_image < 1:
            raise ValueError(
                'Expected max_per_image of 1 or more, or None for as many as '
                f'there are queries, got {max_per_image}.'
            )
        if query_chunk < 1:
            raise ValueError(
                f'Expected query_chunk of 1 or more, got {query_chunk}.'
            )
        self.num_classes = num_classes
        self.object_mask_thr = object_mask_thr
        self.iou_thr = iou_thr
        self.max_per_image = max_per_image
        self.query_chunk = query_chunk
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
        """Return the result of one task for one picture.

        Args:
            task (str): Which result.
            cls_scores (Tensor): Class logits, (Q, K + 1).
            mask_preds (Tensor): Mask logits at stride 4, (Q, H/4, W/4).
            metainfo (dict): ``batch_input_shape``, ``img_shape`` and, to
                rescale, ``ori_shape``, each (height, width).
            rescale (bool): Result in the size of the original picture.

        Returns:
            PixelData | InstanceData: ``sem_seg`` (1, H, W) for panoptic
            (class + 1000 * instance, void = K) and semantic (class);
            ``masks``, ``labels``, ``scores`` and ``bboxes`` for instance.

        Raises:
            ValueError: If the task is unknown, or panoptic with more classes
                than its code can hold.
        """
        predict = getattr(self, f'predict_{check_task(task)}')

        def resize(masks: Tensor) -> Tensor:
            return resize_masks(masks, metainfo, rescale)

        return predict(cls_scores.float(), mask_preds.float(), resize)

    def semantic_scores(
        self, cls_scores: Tensor, mask_preds: Tensor, metainfo: dict
    ) -> Tensor:
        """Return what :meth:`predict_semantic` takes the largest of.

        Args:
            cls_scores (Tensor): Class logits, (Q, K + 1).
            mask_preds (Tensor): Mask logits at stride 4, (Q, H/4, W/4).
            metainfo (dict): As in :meth:`forward`.

        Returns:
            Tensor: Class probability times mask probability, summed over the
            queries, in the size of the original picture, (K, H, W). The
            values of a pixel do not add up to 1.
        """

        def resize(masks: Tensor) -> Tensor:
            return resize_masks(masks, metainfo, rescale=True)

        return self.add_up(cls_scores.float(), mask_preds.float(), resize)

    def predict_panoptic(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> PixelData:
        """Give every pixel to one segment or to none (void)."""
        if self.num_classes >= INSTANCE_OFFSET:
            raise ValueError(
                f'A panoptic result (class + {INSTANCE_OFFSET} * instance) '
                f'can tell {INSTANCE_OFFSET - 1} classes apart, the model has '
                f'{self.num_classes}: leave panoptic out of test_cfg.tasks.'
            )
        scores, labels = cls_scores.softmax(-1).max(-1)  # (Q,)
        kept = (labels != self.num_classes) & (scores > self.object_mask_thr)
        scores, labels, masks = scores[kept], labels[kept], mask_preds[kept]
        segments = torch.full(
            resize(masks[:0]).shape[1:],
            self.num_classes,
            dtype=torch.int32,
            device=masks.device,
        )
        if len(scores):
            winner, inside, covered = self.compete(scores, masks, resize)
            # What each query wins, and wins of what it covers.
            won = torch.bincount(winner.flatten(), minlength=len(scores))
            visible = torch.bincount(winner[inside], minlength=len(scores))
            accepted = (visible > 0) & ~(won.double() / covered < self.iou_thr)
            things = self.is_thing[labels]
            # Things are numbered from 1 in query order; segments of one
            # stuff class share number 0 and so merge.
            number = (things & accepted).cumsum(0) * things
            ids = labels + number * INSTANCE_OFFSET  # (M,)
            painted = inside & accepted[winner]
            segments[painted] = ids[winner[painted]].to(segments.dtype)
        result = PixelData(sem_seg=segments[None])
        result.set_metainfo(dict(ignore_index=self.num_classes))
        return result

    def compete(
        self, scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Let queries compete for the pixels.

        Args:
            scores (Tensor): Class scores, (M,), M > 0.
            mask_preds (Tensor): Mask logits at stride 4, (M, H/4, W/4).
            resize (Resize): To the size of the result.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Which query has the largest class
            score times mask probability, the first if several, (H, W);
            whether that mask probability is at least 0.5, (H, W); and how
            many pixels each query has with at least 0.5, (M,).
        """
        best, covered = None, []
        for start in range(0, len(scores), self.query_chunk):
            part = slice(start, start + self.query_chunk)
            probs = resize(mask_preds[part]).sigmoid()  # (M', H, W)
            covered.append(count(probs >= 0.5))
            # The first of equal ones; argmax alone is slower.
            value, first = (scores[part, None, None] * probs).max(0)
            inside = probs.gather(0, first[None])[0] >= 0.5
            if best is None:
                best, winner, winner_inside = value, first, inside
                continue
            better = value > best
            best = torch.where(better, value, best)
            winner = torch.where(better, first + start, winner)
            winner_inside = torch.where(better, inside, winner_inside)
        return winner, winner_inside, torch.cat(covered)

    def predict_instance(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> InstanceData:
        """Score the best (query, class) pairs; masks may overlap."""
        scores = cls_scores.softmax(-1)[:, :-1].flatten()  # (Q * K,)
        top_k = self.max_per_image or len(cls_scores)
        scores, top = scores.topk(min(top_k, len(scores)), sorted=False)
        labels = top % self.num_classes
        things = self.is_thing[labels]
        scores, labels, top = scores[things], labels[things], top[things]
        # A query may appear with several classes: its mask is resized once.
        queries, row = (top // self.num_classes).unique(return_inverse=True)
        masks, quality = [], []
        for part in mask_preds[queries].split(self.query_chunk):
            logits = resize(part)  # (M', H, W)
            inside = logits > 0
            area = count(inside)
            # A sum over the inside, where the probability is above 0.5,
            # without a second look at which pixels these are.
            excess = logits.sigmoid().sub_(0.5).clamp_(min=0)
            inner = excess.flatten(1).sum(1) + 0.5 * area
            masks.append(inside)
            quality.append(inner / (area + 1e-6))
        masks = torch.cat(masks)
        return InstanceData(
            bboxes=mask2bbox(masks)[row],
            labels=labels,
            scores=scores * torch.cat(quality)[row],
            masks=masks[row],
        )

    def predict_semantic(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> PixelData:
        """Give every pixel the class with the largest sum over queries."""
        total = self.add_up(cls_scores, mask_preds, resize)  # (K, H, W)
        return semantic_result(total)

    def add_up(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> Tensor:
        """Sum class times mask probability over the queries, (K, H, W)."""
        probs = cls_scores.softmax(-1)[:, :-1]  # (Q, K)
        size = resize(mask_preds[:0]).shape[1:]
        total = probs.new_zeros(self.num_classes, *size)
        for chunk_probs, chunk_masks in zip(
            probs.split(self.query_chunk),
            mask_preds.split(self.query_chunk),
            strict=True,
        ):
            masks = resize(chunk_masks).sigmoid()  # (Q', H, W)
            total.flatten(1).addmm_(chunk_probs.T, masks.flatten(1))
        return total


def semantic_result(scores: Tensor) -> PixelData:
    """Return the label with the largest score, ``sem_seg`` (1, H, W).

    Args:
        scores (Tensor): One map per class, (K, H, W).
    """
    # The first of equal ones; argmax alone is slower.
    result = PixelData(sem_seg=scores.max(0, keepdim=True).indices)
    # What SemSegMetric ignores in the ground truth; never predicted.
    result.set_metainfo(dict(ignore_index=255))
    return result


def resize_masks(masks: Tensor, metainfo: dict, rescale: bool) -> Tensor:
    """Resize mask logits to the network input, crop padding, then rescale.

    Args:
        masks (Tensor): Logits at stride 4, (M, H/4, W/4).
        metainfo (dict): See :meth:`OneFormerFusionHead.forward`.
        rescale (bool): Whether to resize to ``ori_shape`` at the end.

    Returns:
        Tensor: Logits, (M, height, width).
    """
    height, width = metainfo['img_shape'][:2]
    masks = _interpolate(masks, metainfo['batch_input_shape'])
    masks = masks[:, :height, :width]
    if rescale:
        masks = _interpolate(masks, metainfo['ori_shape'][:2])
    return masks


def count(inside: Tensor) -> Tensor:
    """Return how many pixels each mask has, (M,), of bool (M, H, W)."""
    return inside.view(torch.uint8).flatten(1).sum(1, dtype=torch.int32)


def _interpolate(masks: Tensor, size: Sequence[int]) -> Tensor:
    size = tuple(size)
    if masks.shape[1:] == size:
        return masks
    if len(masks) == 0:  # PyTorch refuses to resize an empty batch.
        return masks.new_zeros((0, *size))
    # As channels, since single channels count as channels-last, and slow.
    return F.interpolate(
        masks[None], size, mode='bilinear', align_corners=False
    )[0]
