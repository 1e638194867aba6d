"""Classification, mask and dice losses of matched queries."""

import torch
from mmcv.ops import point_sample
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from .matcher import Match
from .point_sampling import sample_masks


@MODELS.register_module()
class OneFormerCriterion(BaseModule):
    """Losses of every prediction of the decoder, the first included.

    Args:
        num_classes (int): Number of classes, K.
        matcher (dict): Config of the matcher.
        loss_cls (dict): Config of the classification loss, over K + 1
            classes; its ``class_weight`` is made here.
        loss_mask (dict): Config of the binary mask loss.
        loss_dice (dict): Config of the dice loss.
        no_object_weight (float): Class weight of "no object".
        num_points (int): Points per matched mask.
        oversample_ratio (float): Candidates drawn per point.
        importance_sample_ratio (float): Share of the points taken from the
            most uncertain candidates; the rest is uniform.
        init_cfg (dict, optional): Initialization config.

    Source: arXiv:2112.01527, sections 3.3 and 4.1.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: dict,
        loss_cls: dict,
        loss_mask: dict,
        loss_dice: dict,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.matcher = TASK_UTILS.build(matcher)
        class_weight = [1.0] * num_classes + [no_object_weight]
        self.loss_cls = MODELS.build(dict(loss_cls, class_weight=class_weight))
        self.loss_mask = MODELS.build(loss_mask)
        self.loss_dice = MODELS.build(loss_dice)
        self.class_weight = class_weight

    def forward(
        self,
        cls_scores: list[Tensor],
        mask_embeds: list[Tensor],
        mask_features: Tensor,
        targets: list[InstanceData],
    ) -> dict[str, Tensor]:
        """Return the weighted losses.

        Args:
            cls_scores (list[Tensor]): Class logits per prediction,
                (B, Q, K + 1).
            mask_embeds (list[Tensor]): Mask embeddings per prediction,
                (B, Q, C).
            mask_features (Tensor): Features at stride 4, (B, C, H/4, W/4).
            targets (list[InstanceData]): Per image ``labels`` (N,) and
                ``masks`` bool (N, H, W), H and W those of the padded batch.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_mask``, ``loss_dice`` of
            the last prediction, and the same with ``d{i}.`` before for
            prediction ``i`` of the others.
        """
        matches = self.matcher(cls_scores, mask_embeds, mask_features, targets)
        num_masks = self.mean_num_masks(targets, mask_features.device)
        losses = {}
        for i, layer_matches in enumerate(matches):
            prefix = f'd{i}.' if i + 1 < len(matches) else ''
            losses[f'{prefix}loss_cls'] = self.classification_loss(
                cls_scores[i], targets, layer_matches
            )
            loss_mask, loss_dice = self.mask_losses(
                mask_embeds[i],
                mask_features,
                targets,
                layer_matches,
                num_masks,
            )
            losses[f'{prefix}loss_mask'] = loss_mask
            losses[f'{prefix}loss_dice'] = loss_dice
        return losses

    @staticmethod
    def mean_num_masks(
        targets: list[InstanceData], device: torch.device
    ) -> Tensor:
        """Ground-truth masks per process, at least 1, scalar."""
        count = sum(len(target) for target in targets)
        count = torch.tensor(float(count), device=device)
        return reduce_mean(count).clamp(min=1)

    def classification_loss(
        self,
        cls_scores: Tensor,
        targets: list[InstanceData],
        matches: list[Match],
    ) -> Tensor:
        """Weighted cross entropy over all queries, scalar."""
        labels = torch.full(
            cls_scores.shape[:2],
            self.num_classes,
            dtype=torch.long,
            device=cls_scores.device,
        )  # (B, Q)
        for i, (match, target) in enumerate(
            zip(matches, targets, strict=True)
        ):
            labels[i, match.queries] = target.labels[match.targets]
        labels = labels.flatten()
        weight = cls_scores.new_tensor(self.class_weight, dtype=torch.float32)
        return self.loss_cls(
            cls_scores.flatten(0, 1).float(),
            labels,
            avg_factor=weight[labels].sum(),
        )

    def mask_losses(
        self,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: list[InstanceData],
        matches: list[Match],
        num_masks: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Binary and dice loss of the matched masks, two scalars."""
        # Only matched queries get a mask map.
        logits = torch.cat(
            [
                torch.einsum('qc,chw->qhw', embeds[match.queries], features)
                for embeds, features, match in zip(
                    mask_embeds, mask_features, matches, strict=True
                )
            ]
        ).float()  # (M, H/4, W/4)
        if len(logits) == 0:
            # Zero, and yet every parameter gets a gradient.
            return logits.sum(), logits.sum()
        masks = torch.cat(
            [
                target.masks[match.targets]
                for target, match in zip(targets, matches, strict=True)
            ]
        )  # (M, H, W)
        with torch.no_grad():
            points = self.draw_points(logits[:, None])  # (M, P, 2)
            truth = sample_masks(masks, points)  # (M, P)
        logits = point_sample(logits[:, None], points)[:, 0]  # (M, P)
        loss_mask = self.loss_mask(
            logits.flatten(),
            truth.flatten(),
            avg_factor=num_masks * self.num_points,
        )
        loss_dice = self.loss_dice(logits, truth, avg_factor=num_masks)
        return loss_mask, loss_dice

    def draw_points(self, logits: Tensor) -> Tensor:
        """Draw points, most of them where the (M, 1, h, w) logits are small.

        Returns:
            Tensor: x and y in [0, 1], (M, P, 2).
        """
        return get_uncertain_point_coords_with_randomness(
            logits,
            None,
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )
