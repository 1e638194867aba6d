"""Sine position encoding of a feature map."""

import torch
from mmdet.models.layers import SinePositionalEncoding
from torch import Tensor


def sine_positions(features: Tensor) -> Tensor:
    """Encode every position of a map, whatever part of it is padding.

    Args:
        features (Tensor): Map whose size, width and device count,
            (B, C, H, W) with even C.

    Returns:
        Tensor: float32, first C/2 channels for y, then C/2 for x,
        (1, H * W, C).
    """
    channels = features.shape[1]
    encode = SinePositionalEncoding(num_feats=channels // 2, normalize=True)
    free = features.new_zeros((1, *features.shape[-2:]), dtype=torch.bool)
    return encode(free).flatten(2).transpose(1, 2)
