"""DiNAT: a hierarchical transformer on dilated neighborhood attention."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..layers.backends import Conditions
from .neighborhood_attention import BACKENDS, neighborhood_attention


@MODELS.register_module()
class DiNAT(BaseModule):
    """Dilated Neighborhood Attention Transformer.

    Parameters have the names of the published weights; there is no classifier.

    Args:
        embed_dims (int): Channels of the first level; each further level has
            twice as many.
        depths (Sequence[int]): Blocks of each level.
        num_heads (Sequence[int]): Attention heads of each level.
        kernel_size (int): Side of the neighborhood, odd.
        dilations (Sequence[Sequence[int]]): Dilation of each block of each
            level.
        mlp_ratio (float): Hidden channels of the feed-forward networks,
            relative to their input channels.
        drop_path_rate (float): Rate of the last block, in [0, 1); it grows
            linearly from 0 at the first block.
        out_indices (Sequence[int]): Levels whose output is returned.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, n also
            the first n levels.
        with_cp (bool): Recompute blocks in the backward pass, for memory.
        backend (str): How the attention is computed: ``'auto'``,
            ``'pytorch'`` or ``'natten'``.
        init_cfg (dict, optional): Initialization config. By default weights
            are initialized as in a vision transformer.

    Raises:
        ValueError: If options contradict each other or the backend cannot be
            used.

    Source: arXiv:2209.15001.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        kernel_size: int,
        dilations: Sequence[Sequence[int]],
        mlp_ratio: float,
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        with_cp: bool = False,
        backend: str = 'auto',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg or dict(type='TruncNormal', layer='Linear', std=0.02)
        )
        _check_levels(embed_dims, depths, num_heads, dilations)
        _check_options(kernel_size, out_indices, frozen_stages, len(depths))
        BACKENDS.select(backend, Conditions('cpu'))
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        widths = [embed_dims * 2**i for i in range(len(depths))]
        last = max(sum(depths) - 1, 1)
        rates = (drop_path_rate * i / last for i in range(sum(depths)))
        options: dict[str, Any] = dict(
            kernel_size=kernel_size,
            mlp_ratio=mlp_ratio,
            with_cp=with_cp,
            backend=backend,
        )
        self.patch_embed = PatchEmbed(embed_dims)
        self.levels = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks = [
                Block(
                    width,
                    num_heads[i],
                    dilation=dilation,
                    drop_path_rate=next(rates),
                    **options,
                )
                for dilation in dilations[i]
            ]
            deepest = i == len(depths) - 1
            self.levels.append(Level(blocks, None if deepest else width))
        for i in self.out_indices:
            self.add_module(f'norm{i}', nn.LayerNorm(widths[i]))
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the normalised features of the levels of ``out_indices``.

        Args:
            images (Tensor): (B, 3, H, W).

        Returns:
            tuple[Tensor, ...]: (B, embed_dims * 2**i, H / 2**(i + 2),
            W / 2**(i + 2)), rounded up at each halving.
        """
        x = self.patch_embed(images)  # (B, H/4, W/4, C)
        outs = []
        for i, level in enumerate(self.levels):
            assert isinstance(level, Level)
            for block in level.blocks:
                x = block(x)
            if i in self.out_indices:
                out = getattr(self, f'norm{i}')(x)
                outs.append(out.permute(0, 3, 1, 2).contiguous())
            if level.downsample is not None:
                x = level.downsample(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'DiNAT':
        """Set training mode, apart from the frozen stages."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        frozen: list[nn.Module] = []
        if self.frozen_stages >= 0:
            frozen.append(self.patch_embed)
        for i in range(self.frozen_stages):
            frozen.append(self.levels[i])
            if i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        for module in frozen:
            module.eval().requires_grad_(False)


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2, with nothing between, and a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H/4, W/4, C), rounded up at each halving."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class Level(nn.Module):
    """Blocks at one resolution, and the downsampling to the next, if any."""

    def __init__(self, blocks: Iterable[nn.Module], width: int | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = None if width is None else Downsample(width)


class Downsample(nn.Module):
    """Halve the resolution, double the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(
            channels, 2 * channels, 3, stride=2, padding=1, bias=False
        )
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2 * C), rounded up."""
        x = self.reduction(x.permute(0, 3, 1, 2))
        return self.norm(x.permute(0, 2, 3, 1))


class Block(nn.Module):
    """Pre-norm attention and feed-forward network, on (B, H, W, C)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        dilation: int,
        mlp_ratio: float,
        drop_path_rate: float,
        with_cp: bool,
        backend: str,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.norm1 = nn.LayerNorm(channels)
        self.attn = NeighborhoodAttention(
            channels, num_heads, kernel_size, dilation, backend
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Mlp(nn.Module):
    """Feed-forward network with exact GELU."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class NeighborhoodAttention(nn.Module):
    """Projections around neighborhood attention with position bias.

    A map smaller than ``kernel_size * dilation`` is padded with zeros before
    the projection to queries, keys and values, as in the original. What the
    padding is projected to is the bias alone, so it is put there directly.

    Args:
        channels (int): Of input and output.
        num_heads (int): Divides ``channels``.
        kernel_size (int): Side of the neighborhood, odd.
        dilation (int): Distance between its keys.
        backend (str): See :func:`neighborhood_attention`.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        dilation: int,
        backend: str,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.backend = backend
        side = 2 * kernel_size - 1
        self.qkv = nn.Linear(channels, 3 * channels)
        self.rpb = nn.Parameter(torch.empty(num_heads, side, side))
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, keys = qkv[..., 0, :, :], self._pad(qkv[..., 1:, :, :])
        out = neighborhood_attention(
            query,
            keys[..., 0, :, :],
            keys[..., 1, :, :],
            self.rpb,
            self.kernel_size,
            self.dilation,
            self.backend,
        )  # (B, H, W, heads, D)
        return self.proj(out.flatten(-2))

    def _pad(self, keys: Tensor) -> Tensor:
        """Fill keys and values up to ``kernel_size * dilation`` a side."""
        batch, height, width = keys.shape[:3]
        needed = self.kernel_size * self.dilation
        right, bottom = max(needed - width, 0), max(needed - height, 0)
        padding = self.qkv.bias.to(keys.dtype).view(3, *keys.shape[4:])[1:]
        if right:
            strip = padding.expand(batch, height, right, *padding.shape)
            keys = torch.cat([keys, strip], dim=2)
        if bottom:
            strip = padding.expand(
                batch, bottom, keys.shape[2], *padding.shape
            )
            keys = torch.cat([keys, strip], dim=1)
        return keys


def _check_levels(
    embed_dims: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    dilations: Sequence[Sequence[int]],
) -> None:
    given = [len(level) for level in dilations]
    if given != list(depths) or len(num_heads) != len(depths):
        raise ValueError(
            f'Expected num_heads of {len(depths)} levels and dilations of '
            f'{list(depths)} blocks, as depths of DiNAT says, got '
            f'{len(num_heads)} and {given}.'
        )
    for i, heads in enumerate(num_heads):
        if embed_dims * 2**i % heads:
            raise ValueError(
                f'Expected num_heads to divide the channels of each level, '
                f'got {heads} for {embed_dims * 2**i} channels of level {i}.'
            )


def _check_options(
    kernel_size: int,
    out_indices: Sequence[int],
    frozen_stages: int,
    num_levels: int,
) -> None:
    if kernel_size % 2 == 0:
        raise ValueError(f'Expected an odd kernel_size, got {kernel_size}.')
    if not set(out_indices) <= set(range(num_levels)):
        raise ValueError(
            f'Expected out_indices between 0 and {num_levels - 1}, got '
            f'{tuple(out_indices)}.'
        )
    if not -1 <= frozen_stages <= num_levels:
        raise ValueError(
            f'Expected frozen_stages between -1 and {num_levels}, got '
            f'{frozen_stages}.'
        )
