"""Values of feature maps and binary masks at points between pixels."""

from typing import NamedTuple

import torch
from mmcv.ops import point_sample
from torch import Tensor


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


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Sample one set of points from a feature map, bilinearly.

    Args:
        features (Tensor): Map of one image, (C, H, W).
        points (Tensor): x and y in [0, 1], (P, 2).

    Returns:
        Tensor: Features, (C, P).
    """
    return point_sample(features[None], points[None])[0]


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
    height, width = masks.shape[-2:]
    scale = points.new_tensor([width, height])
    position = points * scale - 0.5
    corner = position.floor()
    right, low = (position - corner).unbind(-1)  # weights of the far corners
    x, y = corner.long().unbind(-1)
    flat = masks.flatten(1)
    total = 0
    for step_y, weight_y in ((0, 1 - low), (1, low)):
        for step_x, weight_x in ((0, 1 - right), (1, right)):
            column, row = x + step_x, y + step_y
            inside = (column >= 0) & (column < width)
            inside &= (row >= 0) & (row < height)
            index = (row * width + column) * inside
            weight = weight_y * weight_x * inside
            if points.dim() == 2:
                total = total + flat[:, index] * weight
            else:
                total = total + flat.gather(1, index) * weight
    return total.to(torch.float32)
