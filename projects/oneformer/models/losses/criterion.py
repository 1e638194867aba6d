"""Classification, mask and dice losses of matched queries."""

import torch
from mmcv.ops import point_sample
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import reduce_mean
from mmengine.model import BaseModule
from torch import Tensor

from ..layers import recompute
from .matcher import Match
from .point_sampling import MASKS_AT_ONCE, draw_uncertain, sample_masks
from .target import Target
from .unlabelled import (
    IGNORED_LOGIT,
    ignore_cells,
    ignored_points,
    labelled_share,
    merge_unlabelled_classes,
)


@MODELS.register_module()
class OneFormerCriterion(BaseModule):
    """Losses of every prediction of the decoder, the first included.

    Unlabelled classes and ignored regions do not count as background; the
    rules are those of :mod:`.unlabelled`.

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
        mask_features: Tensor | list[Tensor],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        """Return the weighted losses.

        Args:
            cls_scores (list[Tensor]): Class logits per prediction,
                (B, Q, K + 1).
            mask_embeds (list[Tensor]): Mask embeddings per prediction,
                (B, Q, C).
            mask_features (Tensor | list[Tensor]): Features at stride 4,
                (B, C, H/4, W/4), of all predictions or per prediction.
            targets (list[Target]): Per image.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_mask``, ``loss_dice`` of
            the last prediction, and the same with ``d{i}.`` before for
            prediction ``i`` of the others.

        Raises:
            NonFiniteError: If a cost of the matching is not finite.
        """
        # Before matching: should it fail here only, the other processes have
        # exchanged what they exchange, and none waits.
        num_masks = self.mean_num_masks(targets, cls_scores[0].device)
        matches = self.matcher(cls_scores, mask_embeds, mask_features, targets)
        if isinstance(mask_features, Tensor):
            mask_features = [mask_features] * len(matches)
        losses = {}
        for i, layer_matches in enumerate(matches):
            prefix = f'd{i}.' if i + 1 < len(matches) else ''
            losses[f'{prefix}loss_cls'] = self.classification_loss(
                cls_scores[i],
                targets,
                layer_matches,
                self.labelled_shares(
                    mask_embeds[i], mask_features[i], targets
                ),
            )
            loss_mask, loss_dice = self.mask_losses(
                mask_embeds[i],
                mask_features[i],
                targets,
                layer_matches,
                num_masks,
            )
            losses[f'{prefix}loss_mask'] = loss_mask
            losses[f'{prefix}loss_dice'] = loss_dice
        return losses

    @staticmethod
    def mean_num_masks(targets: list[Target], device: torch.device) -> Tensor:
        """Ground-truth masks per process, at least 1, scalar."""
        own = float(sum(len(target) for target in targets))
        count = torch.tensor(own, device=device)
        return reduce_mean(count).clamp(min=1)

    def labelled_shares(
        self, mask_embeds: Tensor, mask_features: Tensor, targets: list[Target]
    ) -> list[Tensor | None]:
        """Return :func:`labelled_share` of the images with ignored regions."""
        return [
            None
            if target.ignored is None
            else labelled_share(
                embeds, features, target.ignored, self.num_points
            )
            for embeds, features, target in zip(
                mask_embeds, mask_features, targets, strict=True
            )
        ]

    def classification_loss(
        self,
        cls_scores: Tensor,
        targets: list[Target],
        matches: list[Match],
        labelled_shares: list[Tensor | None],
    ) -> Tensor:
        """Weighted cross entropy over all queries.

        Args:
            cls_scores (Tensor): Class logits of a prediction, (B, Q, K + 1).
            targets (list[Target]): Per image.
            matches (list[Match]): Per image.
            labelled_shares (list[Tensor | None]): Per image, factors for the
                loss of each query without a match, (Q,).

        Returns:
            Tensor: Scalar.
        """
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
        unmatched = labels == self.num_classes  # (B, Q)
        class_weight = cls_scores.new_tensor(
            self.class_weight, dtype=torch.float32
        )
        logits = list(cls_scores.float())  # (Q, K + 1) per image
        factor = torch.ones_like(class_weight[labels])  # (B, Q)
        for i, (target, share) in enumerate(
            zip(targets, labelled_shares, strict=True)
        ):
            if share is not None:
                factor[i] = share.where(unmatched[i], factor[i])
            elif target.unlabelled_classes is not None:
                logits[i] = merge_unlabelled_classes(
                    logits[i], unmatched[i], target.unlabelled_classes
                )
        return self.loss_cls(
            torch.cat(logits),
            labels.flatten(),
            weight=factor.flatten(),
            # Not of the factors: they take nothing from what is labelled.
            avg_factor=class_weight[labels].sum(),
        )

    def mask_losses(
        self,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: list[Target],
        matches: list[Match],
        num_masks: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Binary and dice loss of the matched masks, two scalars.

        Points in ignored regions are left out of both.
        """
        # Only matched queries get a mask map.
        embeds = [
            embeds[match.queries]
            for embeds, match in zip(mask_embeds, matches, strict=True)
        ]
        counts = [len(own) for own in embeds]  # M altogether
        with torch.no_grad():
            logits = matched_logits(embeds, mask_features)
            points = self.draw_points(
                ignore_cells(logits, counts, targets)
            )  # (M, P, 2)
            truth = torch.cat(
                [
                    sample_masks(target.masks[match.targets], own)
                    for target, match, own in zip(
                        targets,
                        matches,
                        points.split(counts),
                        strict=True,
                    )
                ]
            )  # (M, P)
            ignored = ignored_points(points, counts, targets)
        # For the backward pass, only points and truth of all layers stay.
        return recompute.call(
            self.point_losses,
            with_cp=True,
            embeds=embeds,
            mask_features=mask_features,
            points=points,
            truth=truth,
            ignored=ignored,
            num_masks=num_masks,
        )

    def point_losses(
        self,
        embeds: list[Tensor],
        mask_features: Tensor,
        points: Tensor,
        truth: Tensor,
        ignored: Tensor | None,
        num_masks: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Binary and dice loss at points, two scalars.

        Args:
            embeds (list[Tensor]): Per image the mask embeddings of matched
                queries; M altogether, each (M_i, C).
            mask_features (Tensor): Features at stride 4, (B, C, H/4, W/4).
            points (Tensor): x and y in [0, 1], (M, P, 2).
            truth (Tensor): Values of the masks there, (M, P).
            ignored (Tensor | None): Whether a point is ignored, (M, P).
            num_masks (Tensor): Divisor of the losses.
        """
        logits = matched_logits(embeds, mask_features)
        if len(logits) == 0:
            # Zero, and yet every parameter gets a gradient.
            return logits.sum(), logits.sum()
        logits = point_sample(logits[:, None], points)[:, 0]  # (M, P)
        if ignored is not None:
            logits = logits.masked_fill(ignored, IGNORED_LOGIT)
            truth = truth.masked_fill(ignored, 0)
        loss_mask = self.loss_mask(
            logits.flatten(),
            truth.flatten(),
            avg_factor=num_masks * self.num_points,
        )
        loss_dice = self.loss_dice(logits, truth, avg_factor=num_masks)
        return loss_mask, loss_dice

    def draw_points(self, logits: Tensor) -> Tensor:
        """Draw points, most of them where the (M, h, w) logits are small.

        Returns:
            Tensor: x and y in [0, 1], (M, P, 2).
        """
        return torch.cat(
            [
                draw_uncertain(
                    part,
                    self.num_points,
                    self.oversample_ratio,
                    self.importance_sample_ratio,
                )
                for part in logits.split(MASKS_AT_ONCE)
            ]
        )


def matched_logits(embeds: list[Tensor], mask_features: Tensor) -> Tensor:
    """Return the mask maps of matched queries, float32, (M, H/4, W/4).

    Args:
        embeds (list[Tensor]): Per image, M altogether, each (M_i, C).
        mask_features (Tensor): Features at stride 4, (B, C, H/4, W/4).
    """
    return torch.cat(
        [
            torch.einsum('qc,chw->qhw', own, features)
            for own, features in zip(embeds, mask_features, strict=True)
        ]
    ).float()
