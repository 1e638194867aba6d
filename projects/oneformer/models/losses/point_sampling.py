"""Values of feature maps and binary masks at points between pixels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# With points of their own, each needs memory many times over.
MASKS_AT_ONCE = 32


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Sample one set of points from a feature map, bilinearly.

    Args:
        features (Tensor): Map of one image, (C, H, W).
        points (Tensor): x and y in [0, 1], (P, 2).

    Returns:
        Tensor: Features, (C, P).
    """
    return PointTable(features).sample(points)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Sample binary masks bilinearly, without a float copy of them.

    What lies outside counts as 0, so values are fractional at borders.

    Args:
        masks (Tensor): bool, (N, H, W).
        points (Tensor): x and y in [0, 1], shared (P, 2) or one set per mask
            (N, P, 2).

    Returns:
        Tensor: float32 in [0, 1], (N, P).
    """
    if points.dim() == 3 and len(masks) > MASKS_AT_ONCE:
        return torch.cat(
            [
                sample_masks(*part)
                for part in zip(
                    masks.split(MASKS_AT_ONCE),
                    points.split(MASKS_AT_ONCE),
                    strict=True,
                )
            ]
        )
    flat = masks.flatten(1).view(torch.uint8)
    total: Any = 0
    for index, weight in corners(points, *masks.shape[-2:]):
        shared = points.dim() == 2
        values = flat[:, index] if shared else flat.gather(1, index)
        # In one type, since a product of two is slow on a CPU.
        total = total + values.float() * weight
    return total


def corners(
    points: Tensor, height: int, width: int
) -> list[tuple[Tensor, Tensor]]:
    """Return what bilinear sampling of a map adds up.

    Args:
        points (Tensor): x and y in [0, 1], (..., 2).
        height (int): Of the map.
        width (int): Of the map.

    Returns:
        list[tuple[Tensor, Tensor]]: For each of four pixels its place in the
        flat map and its weight in float32, 0 if it lies outside, both (...).
    """
    columns = _along(points[..., 0], width)
    rows = _along(points[..., 1], height)
    return [
        (row * width + column, weight_y * weight_x)
        for row, weight_y in rows
        for column, weight_x in columns
    ]


def _along(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around positions on an axis, and their weights."""
    position = position.float() * size - 0.5
    near = position.floor()
    far_weight = position - near
    near = near.long()
    return [
        (near.clamp(min=0), (1 - far_weight) * (near >= 0)),
        ((near + 1).clamp(max=size - 1), far_weight * (near + 1 < size)),
    ]


def draw_uncertain(
    logits: Tensor, count: int, oversample: float, share: float
) -> Tensor:
    """Draw points, most of them where a mask is uncertain.

    Args:
        logits (Tensor): Mask logits, (M, h, w).
        count (int): Points per mask, P.
        oversample (float): Candidates drawn per point.
        share (float): Part of the points that are the most uncertain
            candidates; the others are uniform.

    Returns:
        Tensor: x and y in [0, 1], (M, P, 2).

    Source: arXiv:1912.08193, section 3.1.
    """
    masks, device = len(logits), logits.device
    candidates = torch.rand(masks, int(count * oversample), 2, device=device)
    certainty = F.grid_sample(
        logits[:, None], candidates[:, None] * 2 - 1, align_corners=False
    )[:, 0, 0].abs()  # (M, candidates)
    chosen = smallest(certainty, int(share * count))
    # A pair of floats moves as one number.
    pairs = candidates.view(torch.int64)[..., 0].gather(1, chosen)
    uncertain = pairs[..., None].view(torch.float32)
    rest = torch.rand(masks, count - chosen.shape[1], 2, device=device)
    return torch.cat([uncertain, rest], dim=1)


def smallest(values: Tensor, count: int) -> Tensor:
    """Return where the smallest values of each row are, in any order.

    Args:
        values (Tensor): (M, N).
        count (int): How many, up to N.

    Returns:
        Tensor: int64, (M, count).
    """
    if values.device.type != 'cpu' or count == 0:
        return values.topk(count, largest=False, sorted=False).indices
    # Several times as fast as PyTorch there.
    order = np.argpartition(values.numpy(), count - 1, axis=1)
    return torch.from_numpy(order[:, :count])


class PointTable:
    """A map laid out so that sampling it again and again is quick.

    All channels of a pixel lie side by side.

    Args:
        maps (Tensor): Features or bool masks of one image, (C, H, W).
    """

    def __init__(self, maps: Tensor) -> None:
        self.size = maps.shape[-2:]
        if maps.dtype == torch.bool:
            maps = maps.view(torch.uint8)
        self.rows = maps.flatten(1).T.contiguous()  # (H * W, C)

    def sample(self, points: Tensor) -> Tensor:
        """Sample bilinearly; what lies outside counts as 0.

        Args:
            points (Tensor): x and y in [0, 1], (P, 2).

        Returns:
            Tensor: float32, (C, P).
        """
        terms = corners(points, *self.size)
        if self.rows.dtype == torch.uint8:
            total: Any = 0
            for index, weight in terms:
                # Quicker than an index of all four.
                values = self.rows.index_select(0, index)
                total = values.float().mul_(weight[:, None]).add_(total)
            return total.T
        index, weight = (
            torch.stack(part, -1) for part in zip(*terms, strict=True)
        )
        return F.embedding_bag(
            index, self.rows, per_sample_weights=weight, mode='sum'
        ).T
