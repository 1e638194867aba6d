"""Values of feature maps and binary masks at points between pixels."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Unlabelled(NamedTuple):
    """What the annotation of a picture leaves open.

    It is not held against the model, as it would be if it were background.
    """

    classes: Tensor  # bool (K,): may be there, and is not labelled
    pixels: Tensor | None  # bool (H, W); None if all pixels are labelled

    def at(self, points: Tensor) -> Tensor:
        """Return which points touch an open pixel, bool like (..., P)."""
        assert self.pixels is not None
        shared = points if points.dim() == 2 else points.flatten(0, 1)
        touched = sample_masks(self.pixels[None], shared)[0] > 0
        return touched.view(points.shape[:-1])


# A logit of a point that has no part: probability and cross entropy are 0.
NO_PART = -1e4
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
    index, weight = corners(points, *masks.shape[-2:])
    flat = masks.flatten(1)
    total = 0
    for k in range(4):
        if points.dim() == 2:
            values = flat[:, index[..., k]]
        else:
            values = flat.gather(1, index[..., k])
        # In one type, since a product of two is slow on a CPU.
        total = total + values.float() * weight[..., k]
    return total


def corners(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return what bilinear sampling of a map adds up.

    Args:
        points (Tensor): x and y in [0, 1], (..., 2).
        height (int): Of the map.
        width (int): Of the map.

    Returns:
        tuple[Tensor, Tensor]: Places of four pixels in the flat map, and
        their weights in float32, 0 for those outside, both (..., 4).
    """
    scale = points.new_tensor([width, height])
    position = points * scale - 0.5
    corner = position.floor()
    right, low = (position - corner).unbind(-1)  # weights of the far corners
    x, y = corner.long().unbind(-1)
    places, weights = [], []
    for step_y, weight_y in ((0, 1 - low), (1, low)):
        for step_x, weight_x in ((0, 1 - right), (1, right)):
            column, row = x + step_x, y + step_y
            inside = (column >= 0) & (column < width)
            inside &= (row >= 0) & (row < height)
            places.append((row * width + column) * inside)
            weights.append(weight_y * weight_x * inside.float())
    return torch.stack(places, -1), torch.stack(weights, -1).float()


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
        index, weight = corners(points, *self.size)
        if self.rows.dtype == torch.uint8:
            values = self.rows[index].float()  # (P, 4, C)
            return torch.einsum('pkc,pk->cp', values, weight)
        return F.embedding_bag(
            index, self.rows, per_sample_weights=weight, mode='sum'
        ).T
