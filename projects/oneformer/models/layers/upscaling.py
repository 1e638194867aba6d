"""From the grid of patches to mask features of a quarter of the image."""

import math

from torch import Tensor, nn
from torch.nn import functional as F


class Upscaling(nn.Sequential):
    """Blocks that double the size of a map until it has stride 4.

    Args:
        embed_dims (int): Channels, C.
        patch_size (int): Side of a patch in pixels, the stride of the input.
    """

    def __init__(self, embed_dims: int, patch_size: int) -> None:
        blocks = max(1, int(math.log2(patch_size)) - 2)
        super().__init__(*(UpscalingBlock(embed_dims) for _ in range(blocks)))


class UpscalingBlock(nn.Module):
    """Transposed convolution, GELU, depthwise convolution, norm.

    Args:
        embed_dims (int): Channels, C.

    Source: arXiv:2503.19108, section 3.2.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(embed_dims, embed_dims, 2, stride=2)
        self.smooth = nn.Conv2d(
            embed_dims,
            embed_dims,
            3,
            padding=1,
            groups=embed_dims,
            bias=False,
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 2 * H, 2 * W) of (B, C, H, W)."""
        x = self.smooth(F.gelu(self.enlarge(x)))
        x = self.norm(x.permute(0, 2, 3, 1))  # channels last
        return x.permute(0, 3, 1, 2)
