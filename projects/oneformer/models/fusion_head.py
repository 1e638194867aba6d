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
        semantic_chunk (int): Semantic: queries added up at a time, which
            bounds memory.
        init_cfg (dict, optional): Initialization config.
    """

    def __init__(
        self,
        num_classes: int,
        thing_labels: Sequence[int],
        object_mask_thr: float = 0.8,
        iou_thr: float = 0.8,
        max_per_image: int | None = None,
        semantic_chunk: int = 32,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.object_mask_thr = object_mask_thr
        self.iou_thr = iou_thr
        self.max_per_image = max_per_image
        self.semantic_chunk = semantic_chunk
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
        """
        predict = getattr(self, f'predict_{check_task(task)}')

        def resize(masks: Tensor) -> Tensor:
            return resize_masks(masks, metainfo, rescale)

        return predict(cls_scores.float(), mask_preds.float(), resize)

    def predict_panoptic(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> PixelData:
        """Give every pixel to one segment or to none (void)."""
        scores, labels = cls_scores.softmax(-1).max(-1)  # (Q,)
        kept = (labels != self.num_classes) & (scores > self.object_mask_thr)
        scores, labels = scores[kept], labels[kept]
        probs = resize(mask_preds[kept]).sigmoid_()  # (M, H, W)
        segments = torch.full(
            probs.shape[-2:],
            self.num_classes,
            dtype=torch.int32,
            device=probs.device,
        )
        if len(scores):
            winner = (scores[:, None, None] * probs).argmax(0)  # (H, W)
            # What each query wins, covers, and wins of what it covers.
            won = torch.bincount(winner.flatten(), minlength=len(scores))
            inside = probs >= 0.5
            covered = inside.flatten(1).sum(1)
            winner_inside = inside.gather(0, winner[None])[0]  # (H, W)
            visible = torch.bincount(
                winner[winner_inside], minlength=len(scores)
            )
            accepted = (visible > 0) & ~(won.double() / covered < self.iou_thr)
            things = self.is_thing[labels]
            # Things are numbered from 1 in query order; segments of one
            # stuff class share number 0 and so merge.
            number = (things & accepted).cumsum(0) * things
            ids = labels + number * INSTANCE_OFFSET  # (M,)
            painted = winner_inside & accepted[winner]
            segments[painted] = ids[winner[painted]].to(segments.dtype)
        result = PixelData(sem_seg=segments[None])
        result.set_metainfo(dict(ignore_index=self.num_classes))
        return result

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
        logits = resize(mask_preds[queries])  # (M, H, W)
        masks = logits > 0
        quality = (logits.sigmoid() * masks).flatten(1).sum(1) / (
            masks.flatten(1).sum(1) + 1e-6
        )
        masks = masks[row]
        return InstanceData(
            bboxes=mask2bbox(masks),
            labels=labels,
            scores=scores * quality[row],
            masks=masks,
        )

    def predict_semantic(
        self, cls_scores: Tensor, mask_preds: Tensor, resize: Resize
    ) -> PixelData:
        """Give every pixel the class with the largest sum over queries."""
        probs = cls_scores.softmax(-1)[:, :-1]  # (Q, K)
        total = 0
        chunks = zip(
            probs.split(self.semantic_chunk),
            mask_preds.split(self.semantic_chunk),
            strict=True,
        )
        for chunk_probs, chunk_masks in chunks:
            masks = resize(chunk_masks).sigmoid_()
            total = total + torch.einsum('qk,qhw->khw', chunk_probs, masks)
        result = PixelData(sem_seg=total.argmax(0, keepdim=True))
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


def _interpolate(masks: Tensor, size: Sequence[int]) -> Tensor:
    if len(masks) == 0:  # PyTorch refuses to resize an empty batch.
        return masks.new_zeros((0, *size))
    return F.interpolate(
        masks[:, None], tuple(size), mode='bilinear', align_corners=False
    )[:, 0]
