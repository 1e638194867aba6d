"""Layers of mmcv and mmdet that save fewer activations for training.

Feed-forward networks and the windows of Swin save more than the rest of the
model together, although most of it takes little time to compute again.
"""

from collections.abc import Iterable
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.backbones.swin import WindowMSA
from torch import Tensor, nn

from . import recompute
from .dropout import Dropout


def use_lean_layers(model: nn.Module) -> None:
    """Build lean layers in place of the plain ones, wherever a model has them.

    Parameters, their names and the results stay the same. Replaced are the
    layers of mmcv's ``FFN``, if there are two linear ones and the plain
    layers save more, and mmdet's ``WindowMSA``.

    Args:
        model (nn.Module): Before it is trained.
    """
    parents: list[Any] = list(model.modules())
    for parent in parents:
        if type(parent) is FFN and parent.num_fcs == 2:
            (_, activation, dropout), *_ = parent.layers
            if dropout.p or not overwrites(activation):
                parent.layers = FeedForwardLayers(parent.layers)
        for name, child in parent.named_children():
            if type(child) is WindowMSA:
                setattr(parent, name, WindowAttention(child))


class FeedForwardLayers(nn.Sequential):
    """The layers of mmcv's ``FFN``, activation and dropout recomputed.

    Of the wide activations one is saved: the input of the activation, or its
    output if it overwrites the input. Plain layers save up to three.

    Args:
        plain (Iterable): Linear layer, activation and dropout as one module,
            then linear layer and dropout.
    """

    def __init__(self, plain: Iterable[Any]) -> None:
        (first, activation, inner_dropout), second, dropout = plain
        super().__init__(
            nn.Sequential(first, activation, Dropout(inner_dropout.p)),
            second,
            Dropout(dropout.p),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) of (..., C)."""
        if torch.compiler.is_compiling():
            # A compiler decides by itself what to save.
            return super().forward(x)
        inner, second, dropout = self
        first, activation, inner_dropout = inner.children()
        hidden, rest = first(x), [activation, inner_dropout, second]
        if overwrites(activation):
            hidden, rest = activation(hidden), [inner_dropout, second]
        # The second linear layer is not computed again, as no gradient needs
        # its result.
        out = recompute.call(nn.Sequential(*rest), True, input=hidden)
        return dropout(out)


def overwrites(activation: nn.Module) -> bool:
    """Whether an activation function works in place."""
    return getattr(activation, 'inplace', False)


class WindowAttention(WindowMSA):
    """mmdet's window attention, of which only the input is saved.

    Args:
        plain (WindowMSA): The module whose parameters it takes over.
    """

    def __init__(self, plain: WindowMSA) -> None:
        # Nothing is drawn on this device: the parameters are those of plain.
        with torch.device('meta'):
            super().__init__(
                plain.embed_dims,
                plain.num_heads,
                plain.window_size,
                qkv_bias=plain.qkv.bias is not None,
                qk_scale=plain.scale,
                attn_drop_rate=plain.attn_drop.p,
                proj_drop_rate=plain.proj_drop.p,
                init_cfg=plain.init_cfg,
            )
        self.relative_position_bias_table = plain.relative_position_bias_table
        self.relative_position_index = plain.relative_position_index
        self.qkv, self.proj = plain.qkv, plain.proj

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            x (Tensor): Tokens of B * W windows, (B * W, N, C).
            mask (Tensor, optional): Added to the logits, 0 or negative where
                attention is blocked, (W, N, N).

        Returns:
            Tensor: (B * W, N, C).
        """
        if mask is not None:
            # mmdet's -100 makes weights that are denormal numbers, at which
            # some processors are several times slower.
            mask = mask.masked_fill(mask < 0, float('-inf'))
        with_cp = not torch.compiler.is_compiling()
        return recompute.call(super().forward, with_cp, x=x, mask=mask)
