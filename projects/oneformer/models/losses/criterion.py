"""Classification, mask and dice losses of matched queries."""

import torch
from mmcv.ops import point_sample
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from ..layers import recompute
from .matcher import Match
from .non_finite import (
    FiniteCheck,
    NonFiniteError,
    agree,
    name_predictions,
)
from .point_sampling import (
    MASKS_AT_ONCE,
    NO_PART,
    Unlabelled,
    draw_uncertain,
    sample_features,
    sample_masks,
)


@MODELS.register_module()
class OneFormerCriterion(BaseModule):
    """Losses of every prediction of the decoder, the first included.

    What an annotation leaves open is not punished: a query without a match
    may be "no object" or any class that is not labelled, a query whose mask
    lies on pixels that are not labelled is not pushed towards "no object",
    and such pixels have no part in the mask losses.

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
        unlabelled: list[Unlabelled | None] | None = None,
        texts: Tensor | None = None,
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
            unlabelled (list[Unlabelled | None], optional): Per image what
                the annotation leaves open; None where it leaves nothing.
            texts (Tensor, optional): Text queries, which have no part in
                these losses, but have to be finite as well.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_mask``, ``loss_dice`` of
            the last prediction, and the same with ``d{i}.`` before for
            prediction ``i`` of the others.

        Raises:
            NonFiniteError: If the predictions or texts of any process are
                not finite; in all processes, before they exchange losses.
        """
        unlabelled = unlabelled or [None] * len(targets)
        predictions = (cls_scores, mask_embeds, mask_features)
        matches = self.match_finite(predictions, targets, unlabelled, texts)
        num_masks = self.mean_num_masks(targets, mask_features.device)
        losses = {}
        for i, layer_matches in enumerate(matches):
            prefix = f'd{i}.' if i + 1 < len(matches) else ''
            shares = [
                self.labelled_share(embeds, features, open_)
                for embeds, features, open_ in zip(
                    mask_embeds[i], mask_features, unlabelled, strict=True
                )
            ]
            losses[f'{prefix}loss_cls'] = self.classification_loss(
                cls_scores[i], targets, layer_matches, unlabelled, shares
            )
            loss_mask, loss_dice = self.mask_losses(
                mask_embeds[i],
                mask_features,
                targets,
                layer_matches,
                num_masks,
                unlabelled,
            )
            losses[f'{prefix}loss_mask'] = loss_mask
            losses[f'{prefix}loss_dice'] = loss_dice
        return losses

    def match_finite(
        self,
        predictions: tuple[list[Tensor], list[Tensor], Tensor],
        targets: list[InstanceData],
        unlabelled: list[Unlabelled | None],
        texts: Tensor | None,
    ) -> list[list[Match]]:
        """Match, and let all processes know if something is not finite."""
        named = name_predictions(*predictions)
        if texts is not None:
            named['texts'] = texts
        check = FiniteCheck(named)
        error = None
        try:
            matches = self.matcher(*predictions, targets, unlabelled)
            # Images without targets have no costs that would tell.
            check.finish()
        except NonFiniteError as found:
            error = found
        agree(error, predictions[-1].device)
        return matches

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
        unlabelled: list[Unlabelled | None] | None = None,
        shares: list[Tensor | None] | None = None,
    ) -> Tensor:
        """Weighted cross entropy over all queries, scalar.

        ``shares`` are those of :meth:`labelled_share`, per image, by which
        the loss of each query without a match is multiplied.
        """
        unlabelled = unlabelled or [None] * len(targets)
        shares = shares or [None] * len(targets)
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
        class_weight = cls_scores.new_tensor(
            self.class_weight, dtype=torch.float32
        )
        logits = list(cls_scores.float())  # (Q, K + 1) per image
        factor = torch.ones_like(class_weight[labels])  # (B, Q)
        for i, (open_, share) in enumerate(
            zip(unlabelled, shares, strict=True)
        ):
            unmatched = labels[i] == self.num_classes  # (Q,)
            if open_ is not None:
                logits[i] = join_open_classes(
                    logits[i], unmatched, open_.classes
                )
            if share is not None:
                factor[i] = share.where(unmatched, factor[i])
        return self.loss_cls(
            torch.cat(logits),
            labels.flatten(),
            weight=factor.flatten(),
            # Not of the factors: they take nothing from what is labelled.
            avg_factor=class_weight[labels].sum(),
        )

    @torch.no_grad()
    def labelled_share(
        self,
        mask_embeds: Tensor,
        mask_features: Tensor,
        unlabelled: Unlabelled | None,
    ) -> Tensor | None:
        """Return how much of each query's mask lies on labelled pixels.

        Args:
            mask_embeds (Tensor): Mask embeddings of an image, (Q, C).
            mask_features (Tensor): Its features at stride 4, (C, H/4, W/4).
            unlabelled (Unlabelled | None): What its annotation leaves open.

        Returns:
            Tensor | None: Estimate at random points, in [0, 1], (Q,). None if
            all pixels are labelled.
        """
        if unlabelled is None or unlabelled.pixels is None:
            return None
        points = torch.rand(self.num_points, 2, device=mask_embeds.device)
        features = sample_features(mask_features.float(), points)  # (C, P)
        probs = (mask_embeds.float() @ features).sigmoid()  # (Q, P)
        labelled = (~unlabelled.at(points)).float()  # (P,)
        return (probs @ labelled + 1e-6) / (probs.sum(1) + 1e-6)

    def mask_losses(
        self,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: list[InstanceData],
        matches: list[Match],
        num_masks: Tensor,
        unlabelled: list[Unlabelled | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Binary and dice loss of the matched masks, two scalars.

        Points that are not labelled have no part in either.
        """
        # Only matched queries get a mask map.
        embeds = [
            embeds[match.queries]
            for embeds, match in zip(mask_embeds, matches, strict=True)
        ]
        unlabelled = unlabelled or [None] * len(targets)
        with torch.no_grad():
            logits = matched_logits(embeds, mask_features)
            points = self.draw_points(
                leave_out_cells(logits, matches, unlabelled)
            )  # (M, P, 2)
            truth = torch.cat(
                [
                    sample_masks(target.masks[match.targets], own)
                    for target, match, own in zip(
                        targets,
                        matches,
                        points.split([len(own) for own in embeds]),
                        strict=True,
                    )
                ]
            )  # (M, P)
            left_out = points_left_out(points, matches, unlabelled)
        # Of all objects and layers, only points and truth are kept.
        return recompute.call(
            self.point_losses,
            with_cp=True,
            embeds=embeds,
            mask_features=mask_features,
            points=points,
            truth=truth,
            left_out=left_out,
            num_masks=num_masks,
        )

    def point_losses(
        self,
        embeds: list[Tensor],
        mask_features: Tensor,
        points: Tensor,
        truth: Tensor,
        left_out: Tensor | None,
        num_masks: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Binary and dice loss at points, two scalars.

        Args:
            embeds (list[Tensor]): Per image the mask embeddings of matched
                queries; M altogether, each (M_i, C).
            mask_features (Tensor): Features at stride 4, (B, C, H/4, W/4).
            points (Tensor): x and y in [0, 1], (M, P, 2).
            truth (Tensor): Values of the masks there, (M, P).
            left_out (Tensor | None): Which points have no part, (M, P).
            num_masks (Tensor): What the losses are divided by.
        """
        logits = matched_logits(embeds, mask_features)
        if len(logits) == 0:
            # Zero, and yet every parameter gets a gradient.
            return logits.sum(), logits.sum()
        logits = point_sample(logits[:, None], points)[:, 0]  # (M, P)
        if left_out is not None:
            logits = logits.masked_fill(left_out, NO_PART)
            truth = truth.masked_fill(left_out, 0)
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


def join_open_classes(
    logits: Tensor, unmatched: Tensor, classes: Tensor
) -> Tensor:
    """Let queries without a match be of a class that is not labelled.

    For these, the probabilities of such classes are added to that of "no
    object", which is what they are trained for.

    Args:
        logits (Tensor): Class logits of an image, (Q, K + 1).
        unmatched (Tensor): bool, (Q,).
        classes (Tensor): Which classes are not labelled, bool, (K,).

    Returns:
        Tensor: Logits for a cross entropy, (Q, K + 1).
    """
    blocked = unmatched[:, None] & classes  # (Q, K)
    joined = torch.where(
        unmatched,
        logits.masked_fill(
            ~torch.cat([classes, classes.new_ones(1)]), -torch.inf
        ).logsumexp(-1),
        logits[:, -1],
    )
    kept = logits[:, :-1].masked_fill(blocked, -torch.inf)
    return torch.cat([kept, joined[:, None]], dim=1)


def leave_out_cells(
    logits: Tensor, matches: list[Match], unlabelled: list[Unlabelled | None]
) -> Tensor:
    """Let logits look certain where nothing is labelled.

    Points are drawn where a mask is uncertain, and would gather where it is
    never trained.

    Args:
        logits (Tensor): Masks of the matched queries, (M, H/4, W/4).
        matches (list[Match]): Per image; M pairs altogether.
        unlabelled (list[Unlabelled | None]): Per image.

    Returns:
        Tensor: Logits to draw points by, (M, H/4, W/4).
    """
    parts = list(logits.split([len(match.queries) for match in matches]))
    for i, open_ in enumerate(unlabelled):
        if open_ is not None and open_.pixels is not None:
            share = F.interpolate(
                open_.pixels[None, None].float(),
                logits.shape[-2:],
                mode='area',
            )[0]
            parts[i] = parts[i].masked_fill(share == 1, NO_PART)
    return torch.cat(parts)


def points_left_out(
    points: Tensor, matches: list[Match], unlabelled: list[Unlabelled | None]
) -> Tensor | None:
    """Return which points of the matched masks are not labelled.

    Args:
        points (Tensor): Points of each mask, (M, P, 2).
        matches (list[Match]): Per image; M pairs altogether.
        unlabelled (list[Unlabelled | None]): Per image.

    Returns:
        Tensor | None: bool, (M, P); None if all pixels are labelled.
    """
    if all(open_ is None or open_.pixels is None for open_ in unlabelled):
        return None
    return torch.cat(
        [
            torch.zeros_like(own[..., 0], dtype=torch.bool)
            if open_ is None or open_.pixels is None
            else open_.at(own)
            for own, open_ in zip(
                points.split([len(match.queries) for match in matches]),
                unlabelled,
                strict=True,
            )
        ]
    )
