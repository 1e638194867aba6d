"""Rotary position encoding of patches, as in DINOv3."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

THETA = 100.0
# In training, coordinates are multiplied by up to this or its inverse.
RESCALE = 2.0


class Rotation(NamedTuple):
    """By what the channels of a head are turned, float32, both (P, D)."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Turn the last P of the tokens (B, heads, N, D), the patches."""
        # Not len(), whose result is a constant of an exported graph.
        count = self.cos.shape[0]
        first, patches = x.split([x.shape[-2] - count, count], dim=-2)
        left, right = patches.chunk(2, dim=-1)
        turned = patches * self.cos + torch.cat([-right, left], -1) * self.sin
        return torch.cat([first, turned.to(x.dtype)], dim=-2)


def rotation_of_size(
    size: tuple[int, int],
    channels: int,
    device: torch.device,
    rescale: bool = False,
) -> Rotation:
    """Return the rotation for the patches of an image.

    The centre of a patch has coordinates from -1 to 1, whatever the size.

    Args:
        size (tuple[int, int]): Rows and columns of patches.
        channels (int): Of a head, a multiple of 4, D.
        device (torch.device): Of the result.
        rescale (bool): Whether to multiply all coordinates by one random
            number, log-uniform in [1/2, 2], as DINOv3 is trained.

    Returns:
        Rotation: For P = rows * columns patches.

    Source: arXiv:2508.10104, section on the architecture.
    """
    axes = [
        (torch.arange(length, dtype=torch.float32, device=device) + 0.5)
        * (2 / length)
        - 1
        for length in size
    ]
    places = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1)
    if rescale:
        limit = math.log(RESCALE)
        factor = torch.empty(1, device=device).uniform_(-limit, limit).exp()
        places = places * factor
    steps = torch.arange(0, 1, 4 / channels, device=device)  # (D / 4,)
    angles = 2 * math.pi * places[..., None] / THETA**steps
    angles = angles.flatten(0, 1).flatten(1).repeat(1, 2)  # (P, D)
    return Rotation(angles.cos(), angles.sin())
