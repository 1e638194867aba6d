"""Unlabelled classes and ignored regions do not count as background.

An annotation may leave classes unlabelled, and a region of the image without
labels; see :class:`~.target.Target`. Then

- a query without a match may be "no object" or of an unlabelled class, unless
  the annotation has an ignored region: objects of such a class lie in it,
- a query whose mask lies in the ignored region is not pushed towards "no
  object",
- points in the ignored region have no part in matching and mask losses.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .point_sampling import sample_features, sample_masks
from .target import Target

# A logit whose probability and cross entropy are 0.
IGNORED_LOGIT = -1e4


def merge_unlabelled_classes(
    logits: Tensor, unmatched: Tensor, unlabelled_classes: Tensor
) -> Tensor:
    """Let queries without a match be of an unlabelled class.

    For these, the probabilities of such classes are added to that of "no
    object", which is what they are trained for.

    Args:
        logits (Tensor): Class logits of an image, (Q, K + 1).
        unmatched (Tensor): Which queries have no match, bool, (Q,).
        unlabelled_classes (Tensor): bool, (K,).

    Returns:
        Tensor: Logits for a cross entropy, (Q, K + 1).
    """
    merged = unmatched[:, None] & unlabelled_classes  # (Q, K)
    sources = torch.cat([unlabelled_classes, unmatched.new_ones(1)])
    no_object = torch.where(
        unmatched,
        logits.masked_fill(~sources, -torch.inf).logsumexp(-1),
        logits[:, -1],
    )
    classes = logits[:, :-1].masked_fill(merged, -torch.inf)
    return torch.cat([classes, no_object[:, None]], dim=1)


@torch.no_grad()
def labelled_share(
    mask_embeds: Tensor,
    mask_features: Tensor,
    ignored: Tensor,
    num_points: int,
) -> Tensor:
    """Return how much of each query's mask lies outside the ignored region.

    Args:
        mask_embeds (Tensor): Mask embeddings of an image, (Q, C).
        mask_features (Tensor): Its features at stride 4, (C, H/4, W/4).
        ignored (Tensor): The ignored region, bool, (H, W).
        num_points (int): Random points of the estimate, P.

    Returns:
        Tensor: In [0, 1], (Q,).
    """
    points = torch.rand(num_points, 2, device=mask_embeds.device)
    features = sample_features(mask_features.float(), points)  # (C, P)
    probs = (mask_embeds.float() @ features).sigmoid()  # (Q, P)
    labelled = (~touches(ignored, points)).float()  # (P,)
    return (probs @ labelled + 1e-6) / (probs.sum(1) + 1e-6)


def ignore_cells(
    logits: Tensor, counts: Sequence[int], targets: Sequence[Target]
) -> Tensor:
    """Make logits certain in the cells that are ignored as a whole.

    Points are drawn where a mask is uncertain, and would gather where it is
    never trained.

    Args:
        logits (Tensor): Masks of the matched queries, (M, H/4, W/4).
        counts (Sequence[int]): Matched queries of each image, M altogether.
        targets (Sequence[Target]): Per image.

    Returns:
        Tensor: Logits to draw points by, (M, H/4, W/4).
    """
    parts = list(logits.split(counts))
    for i, target in enumerate(targets):
        if target.ignored is not None:
            share = F.interpolate(
                target.ignored[None, None].float(),
                logits.shape[-2:],
                mode='area',
            )[0]
            parts[i] = parts[i].masked_fill(share == 1, IGNORED_LOGIT)
    return torch.cat(parts)


def ignored_points(
    points: Tensor, counts: Sequence[int], targets: Sequence[Target]
) -> Tensor | None:
    """Return which points of the matched masks are in an ignored region.

    Args:
        points (Tensor): Points of each mask, (M, P, 2).
        counts (Sequence[int]): Matched queries of each image, M altogether.
        targets (Sequence[Target]): Per image.

    Returns:
        Tensor | None: bool, (M, P); None if no image has such a region.
    """
    if all(target.ignored is None for target in targets):
        return None
    return torch.cat(
        [
            torch.zeros_like(own[..., 0], dtype=torch.bool)
            if target.ignored is None
            else touches(target.ignored, own)
            for own, target in zip(points.split(counts), targets, strict=True)
        ]
    )


def touches(region: Tensor, points: Tensor) -> Tensor:
    """Return which points touch a region.

    Args:
        region (Tensor): bool, (H, W).
        points (Tensor): x and y in [0, 1], (..., P, 2).

    Returns:
        Tensor: bool, (..., P): whether one of the four pixels around a point
        is in the region.
    """
    values = sample_masks(region[None], points.reshape(-1, 2))[0]
    return (values > 0).view(points.shape[:-1])
