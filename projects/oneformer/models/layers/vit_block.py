"""A block of a plain Vision Transformer, of the DINOv2 or DINOv3 kind."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rotary_positions import Rotation


class ViTBlock(nn.Module):
    """Attention and feed-forward network, each with norm and layer scale.

    Args:
        embed_dims (int): Width, C.
        num_heads (int): Heads of the attention.
        feedforward_channels (int): Hidden channels of the feed-forward
            network.
        gated (bool): Whether that is a SwiGLU, as in the giant models, in
            place of two layers with a GELU between them.
        key_bias (bool): Whether the keys have a bias; those of DINOv3 have
            none.
        norm_eps (float): Of both norms.

    Source: arXiv:2304.07193.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        gated: bool = False,
        key_bias: bool = True,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.attn = ViTAttention(embed_dims, num_heads, key_bias)
        self.scale1 = nn.Parameter(torch.ones(embed_dims))
        self.norm2 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.ffn = ViTFeedForward(embed_dims, feedforward_channels, gated)
        self.scale2 = nn.Parameter(torch.ones(embed_dims))

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Apply the block.

        Args:
            x (Tensor): Tokens, the patches last, (B, N, C).
            rotation (Rotation, optional): Of the patches.
            mask (Tensor, optional): What the first Q tokens may attend to,
                bool, (B, Q, N), the same for all heads. The other tokens
                attend to all.

        Returns:
            Tensor: (B, N, C).
        """
        x = x + self.scale1 * self.attn(self.norm1(x), rotation, mask)
        return x + self.scale2 * self.ffn(self.norm2(x))


class ViTAttention(nn.Module):
    """Self-attention with turned patches and a mask of the first tokens.

    Args:
        embed_dims (int): Width, C.
        num_heads (int): Number of heads.
        key_bias (bool): Whether the keys have a bias.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, key_bias: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=key_bias)
        self.q_bias: nn.Parameter | None = None
        self.v_bias: nn.Parameter | None = None
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(embed_dims))
            self.v_bias = nn.Parameter(torch.zeros(embed_dims))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, x: Tensor, rotation: Rotation | None, mask: Tensor | None
    ) -> Tensor:
        """Attend; see :meth:`ViTBlock.forward`."""
        bias: Tensor = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            zeros = torch.zeros_like(self.q_bias)
            bias = torch.cat([self.q_bias, zeros, self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)  # (B, N, 3 * C)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, C / heads) each
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if mask is None:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            # Most tokens are not masked: they need no mask in memory, and
            # may use the fused kernels that take none.
            masked, free = q.split(
                [mask.shape[1], q.shape[2] - mask.shape[1]], dim=2
            )
            mixed = torch.cat(
                [
                    F.scaled_dot_product_attention(
                        masked, k, v, attn_mask=mask[:, None]
                    ),
                    F.scaled_dot_product_attention(free, k, v),
                ],
                dim=2,
            )
        return self.proj(mixed.transpose(1, 2).flatten(2))


class ViTFeedForward(nn.Module):
    """Two linear layers with a GELU between them, or a SwiGLU.

    Args:
        embed_dims (int): Width, C.
        hidden_channels (int): Channels between the layers.
        gated (bool): Whether it is a SwiGLU; gate and values are then one
            layer, the gate first.
    """

    def __init__(
        self, embed_dims: int, hidden_channels: int, gated: bool
    ) -> None:
        super().__init__()
        self.gated = gated
        width = 2 * hidden_channels if gated else hidden_channels
        self.fc1 = nn.Linear(embed_dims, width)
        self.fc2 = nn.Linear(hidden_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) of (..., C)."""
        x = self.fc1(x)
        if self.gated:
            gate, values = x.chunk(2, dim=-1)
            return self.fc2(F.silu(gate) * values)
        return self.fc2(F.gelu(x))


def init_vit_weights(module: nn.Module) -> None:
    """Draw the weights of linear layers as the training of ViTs starts."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
