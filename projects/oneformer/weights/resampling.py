"""Patch embeddings and learned positions of a ViT in other sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resample_positions(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize learned positions of a square grid of patches.

    Args:
        positions (Tensor): (1, P, C), P a square number.
        size (tuple[int, int]): Rows and columns wanted.

    Returns:
        Tensor: (1, rows * columns, C).
    """
    side = round(positions.shape[1] ** 0.5)
    if size == (side, side):
        return positions
    grid = positions.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid.float(), size, mode='bicubic', antialias=True, align_corners=False
    )
    return grid.flatten(2).transpose(1, 2).to(positions.dtype)


def resample_by_products(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return :func:`resample_positions` by operations that all engines have.

    Engines that run exported files round and weight their antialiased bicubic
    interpolation in their own ways, if they have it.

    Args:
        positions (Tensor): (1, P, C), P a square number.
        size (tuple[int, int]): Rows and columns wanted; they may be free
            sizes of a graph.

    Returns:
        Tensor: (1, rows * columns, C).
    """
    side = round(positions.shape[1] ** 0.5)
    grid = positions[0].unflatten(0, (side, side))  # (side, side, C)
    rows, columns = (_cubic_weights(side, length) for length in size)
    grid = torch.einsum('hy,yxc->hxc', rows, grid)
    return torch.einsum('wx,hxc->hwc', columns, grid).flatten(0, 1)[None]


def _cubic_weights(old: int, new: int) -> Tensor:
    """Return antialiased bicubic interpolation along an axis, (new, old)."""
    centres = (torch.arange(new) + 0.5) * (old / new)
    # Where the axis shrinks, the filter covers as many more of the old values.
    stretch = (2 * centres[:1]).clamp(min=1)
    away = (torch.arange(old) + 0.5 - centres[:, None]).abs() / stretch
    # Keys' cubic with a = -1/2, as PyTorch and Pillow have it.
    near = (1.5 * away - 2.5) * away * away + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = torch.where(away < 1, near, far) * (away < 2)
    return weights / weights.sum(1, keepdim=True)


def resample_patches(weight: Tensor, side: int) -> Tensor:
    """Change the side of the patches that a convolution embeds.

    The new weights give a resized patch the embedding that the old ones give
    the patch, as nearly as possible.

    Args:
        weight (Tensor): (C, 3, old side, old side).
        side (int): New side, in pixels.

    Returns:
        Tensor: (C, 3, side, side).

    Source: arXiv:2212.08013, PI-resize.
    """
    old = weight.shape[-1]
    if old == side:
        return weight
    pixels = torch.eye(old * old, dtype=torch.float64)
    resize = F.interpolate(
        pixels.view(-1, 1, old, old),
        (side, side),
        mode='bicubic',
        antialias=True,
        align_corners=False,
    ).flatten(1)  # (old * old, side * side)
    inverse = torch.linalg.pinv(resize.T)  # (old * old, side * side)
    changed = weight.double().flatten(2) @ inverse.to(weight.device)
    return changed.unflatten(2, (side, side)).to(weight.dtype)
