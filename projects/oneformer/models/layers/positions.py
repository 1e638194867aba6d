"""Sine position encoding of a feature map."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000


def sine_positions(features: Tensor) -> Tensor:
    """Encode every position of a map, padding included.

    Args:
        features (Tensor): Map that gives size, width and device,
            (B, C, H, W) with even C.

    Returns:
        Tensor: float32, first C/2 channels for y, then C/2 for x,
        (1, H * W, C).
    """
    channels, height, width = features.shape[1:]
    size = height, width
    return sine_positions_of_size(size, channels, features.device)


def sine_positions_of_size(
    size: tuple[int, int], channels: int, device: torch.device
) -> Tensor:
    """Encode every position of a map that need not exist yet.

    The values are those of mmdet's ``SinePositionalEncoding`` with
    ``normalize=True`` for a map without padding.

    Args:
        size (tuple[int, int]): Height and width.
        channels (int): Of the encoding, an even number, C.
        device (torch.device): Of the result.

    Returns:
        Tensor: As that of :func:`sine_positions`.
    """
    height, width = size
    rows = _sine_of_steps(height, channels // 2, device)
    columns = _sine_of_steps(width, channels // 2, device)
    positions = torch.cat(
        [
            rows[:, None].expand(-1, width, -1),
            columns[None].expand(height, -1, -1),
        ],
        dim=-1,
    )  # (H, W, C)
    return positions.flatten(0, 1)[None]


def _sine_of_steps(length: int, channels: int, device: torch.device) -> Tensor:
    """Sine and cosine in turn, of rising wavelength, (length, channels)."""
    steps = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    angles = steps / (steps[-1] + 1e-6) * (2 * math.pi)  # (length,)
    wave = torch.arange(channels, dtype=torch.float32, device=device)
    wavelengths = TEMPERATURE ** (2 * (wave // 2) / channels)
    angles = angles[:, None] / wavelengths  # (length, channels)
    return torch.stack(
        [angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=-1
    ).flatten(1)
