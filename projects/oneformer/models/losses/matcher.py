"""Bipartite matching of queries and ground truth, for all layers at once."""

from typing import NamedTuple

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from .non_finite import name_predictions, raise_first_non_finite
from .point_sampling import PointTable
from .target import Target
from .unlabelled import IGNORED_LOGIT, touches


class Match(NamedTuple):
    """Matched pairs of one image, both (M,), M = min(Q, N)."""

    queries: Tensor
    targets: Tensor


@TASK_UTILS.register_module()
class QueryMatcher:
    """Hungarian matching by class, and by mask at random points.

    The cost of a pair is ``-class_cost * p(class)`` plus binary cross
    entropy and dice between the masks, at points that all pairs of an image
    share. Each layer and image draws its own. Costs are computed on the
    device in float32 and copied to the host once.

    Args:
        class_cost (float): Weight of the class probability.
        mask_cost (float): Weight of the binary cross entropy.
        dice_cost (float): Weight of the dice term.
        num_points (int): Points per image.

    Source: arXiv:2112.01527, section 3.3.
    """

    def __init__(
        self,
        class_cost: float = 2.0,
        mask_cost: float = 5.0,
        dice_cost: float = 5.0,
        num_points: int = 12544,
    ) -> None:
        self.class_cost = class_cost
        self.mask_cost = mask_cost
        self.dice_cost = dice_cost
        self.num_points = num_points

    @torch.no_grad()
    def __call__(
        self,
        cls_scores: list[Tensor],
        mask_embeds: list[Tensor],
        mask_features: Tensor | list[Tensor],
        targets: list[Target],
    ) -> list[list[Match]]:
        """Match every layer and image.

        Args:
            cls_scores (list[Tensor]): Class logits per layer, (B, Q, K + 1).
            mask_embeds (list[Tensor]): Mask embeddings per layer, (B, Q, C).
            mask_features (Tensor | list[Tensor]): Features at stride 4,
                (B, C, H/4, W/4), of all layers or per layer.
            targets (list[Target]): Per image, with N objects. Points in
                an ignored region have no part in the costs.

        Returns:
            list[list[Match]]: Per layer, per image. Nothing is matched where
            N is 0.

        Raises:
            NonFiniteError: If a cost is not finite. The message names the
                first tensor that is not.
        """
        per_layer = isinstance(mask_features, list)
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            tables = [
                make_tables(features, target)
                for features, target in zip(
                    mask_features[0] if per_layer else mask_features,
                    targets,
                    strict=True,
                )
            ]
            costs = []
            for layer, (scores, embeds) in enumerate(
                zip(cls_scores, mask_embeds, strict=True)
            ):
                if per_layer and layer > 0:
                    # The masks of the targets stay as they are.
                    tables = [
                        own and (PointTable(features.float()), own[1])
                        for features, own in zip(
                            mask_features[layer], tables, strict=True
                        )
                    ]
                costs += [
                    self.cost(scores[i], embeds[i], tables[i], target)
                    for i, target in enumerate(targets)
                ]
        host = torch.cat([cost.flatten() for cost in costs]).cpu().numpy()
        if not np.isfinite(host).all():
            raise_first_non_finite(
                name_predictions(cls_scores, mask_embeds, mask_features)
            )
        pairs, start = [], 0
        for cost in costs:
            matrix = host[start : start + cost.numel()].reshape(cost.shape)
            start += cost.numel()
            pairs.append(
                Match(
                    *(
                        torch.from_numpy(index).to(cost.device)
                        for index in linear_sum_assignment(matrix)
                    )
                )
            )
        return [
            pairs[i : i + len(targets)]
            for i in range(0, len(pairs), len(targets))
        ]

    def cost(
        self,
        cls_scores: Tensor,
        mask_embeds: Tensor,
        tables: tuple[PointTable, PointTable] | None,
        target: Target,
    ) -> Tensor:
        """Return the costs of one layer and image.

        Args:
            cls_scores (Tensor): Class logits, (Q, K + 1).
            mask_embeds (Tensor): Mask embeddings, (Q, C).
            tables (tuple[PointTable, PointTable] | None): Of the features at
                stride 4, (C, H/4, W/4), and of the masks of the target; None
                without objects.
            target (Target): With N objects.

        Returns:
            Tensor: float32, (Q, N).
        """
        if tables is None:
            return cls_scores.new_zeros((len(cls_scores), 0)).float()
        features, masks = tables
        points = self.draw_points(mask_embeds.device)
        # Masks are linear in the features: sampling these is sampling those.
        logits = mask_embeds.float() @ features.sample(points)  # (Q, P)
        truth = masks.sample(points)  # (N, P)
        if target.ignored is not None:
            ignored = touches(target.ignored, points)  # (P,)
            logits = logits.masked_fill(ignored, IGNORED_LOGIT)
            truth = truth * ~ignored
        return (
            -self.class_cost * cls_scores.float().softmax(-1)[:, target.labels]
            + self.mask_cost * pairwise_bce(logits, truth)
            + self.dice_cost * pairwise_dice(logits, truth)
        )

    def draw_points(self, device: torch.device) -> Tensor:
        """Draw uniform points in [0, 1], (P, 2)."""
        return torch.rand(self.num_points, 2, device=device)


def make_tables(
    mask_features: Tensor, target: Target
) -> tuple[PointTable, PointTable] | None:
    """Lay out features (C, H/4, W/4) and masks of an image for sampling."""
    if len(target) == 0:
        return None
    return PointTable(mask_features.float()), PointTable(target.masks)


def pairwise_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy, mean over points, of (Q, P) and (N, P): (Q, N)."""
    negative = F.softplus(logits)  # cost of a point where truth is 0
    # softplus(-x) = softplus(x) - x, so one product serves both cases.
    return (negative.sum(1, keepdim=True) - logits @ truth.T) / len(truth.T)


def pairwise_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss with smoothing 1, of (Q, P) and (N, P): (Q, N)."""
    probs = logits.sigmoid()
    overlap = 2 * (probs @ truth.T)
    total = probs.sum(1)[:, None] + truth.sum(1)[None]
    return 1 - (overlap + 1) / (total + 1)
