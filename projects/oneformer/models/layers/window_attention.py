"""Window attention of Swin that keeps only its input for the gradient.

mmdet's keeps queries, keys (twice), values, weights and output. Windows are
small, so that computing all of it again, some windows at a time, costs less
on a CPU than moving it through memory.
"""

import torch
from mmdet.models.backbones.swin import WindowMSA
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .dropout import can_be_lean

# Of the attention weights, per part of the windows: what fits a cache.
PART_BYTES = 2**21


class WindowAttention(WindowMSA):
    """mmdet's window attention, lean in the backward pass on a CPU.

    Arguments, parameters and their names are those of mmdet's module. It is
    mmdet's in half precision and wherever its attention weights or outputs
    have dropout.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            x (Tensor): Tokens of B * W windows, (B * W, N, C).
            mask (Tensor, optional): Added to the logits, (W, N, N).

        Returns:
            Tensor: (B * W, N, C).
        """
        dropout = self.training and (self.attn_drop.p or self.proj_drop.p)
        half = x.element_size() < 4 or torch.is_autocast_enabled('cpu')
        if dropout or half or not can_be_lean(x):
            return super().forward(x, mask)
        bias = self.relative_position_bias_table[self.relative_position_index]
        return _WindowAttention.apply(
            x,
            self.qkv.weight,
            self.qkv.bias,
            bias.permute(2, 0, 1),  # (heads, N, N)
            self.proj.weight,
            self.proj.bias,
            mask,
            self.scale,
        )


def use_lean_window_attention(module: nn.Module) -> None:
    """Let all of mmdet's window attentions in a module be the lean ones."""
    for part in module.modules():
        if type(part) is WindowMSA:
            # It holds the same; only what it computes with differs.
            part.__class__ = WindowAttention


class _WindowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x, weight, qkv_bias, bias, proj_weight, proj_bias, mask, scale
    ):
        out = torch.empty_like(x)
        for part, added in _parts(x, bias, mask):
            q, k, v = _split(x[part], weight, qkv_bias, len(bias))
            weights = _weights(q, k, added, scale)
            torch.addmm(
                proj_bias,
                _join(weights @ v),
                proj_weight.T,
                out=out[part].flatten(0, 1),
            )
        ctx.save_for_backward(x, weight, qkv_bias, bias, proj_weight, mask)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, qkv_bias, bias, proj_weight, mask = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x)
        grad_weight = torch.zeros_like(weight)
        grad_qkv_bias = weight.new_zeros(len(weight))
        grad_bias = torch.zeros_like(
            bias, memory_format=torch.contiguous_format
        )
        grad_proj = torch.zeros_like(proj_weight)
        for part, added in _parts(x, bias, mask):
            q, k, v = _split(x[part], weight, qkv_bias, len(bias))
            weights = _weights(q, k, added, ctx.scale)
            out = weights @ v  # (windows, heads, N, C / heads)
            above = grad[part].flatten(0, 1)
            grad_proj.addmm_(above.T, _join(out))
            above = _heads(above @ proj_weight, out)
            # Through the softmax.
            slope = above @ v.mT
            slope -= (above * out).sum(-1, keepdim=True)
            slope *= weights
            grad_bias += slope.sum(0)
            inner = torch.stack(
                (
                    slope @ k * ctx.scale,
                    slope.mT @ q * ctx.scale,
                    weights.mT @ above,
                )
            )  # (3, windows, heads, N, C / heads)
            inner = inner.permute(1, 3, 0, 2, 4).flatten(2).flatten(0, 1)
            grad_weight.addmm_(inner.T, x[part].flatten(0, 1))
            grad_qkv_bias += inner.sum(0)
            torch.mm(inner, weight, out=grad_x[part].flatten(0, 1))
        return (
            grad_x,
            grad_weight,
            None if qkv_bias is None else grad_qkv_bias,
            grad_bias,
            grad_proj,
            grad.sum((0, 1)),
            None,
            None,
        )


def _parts(x: Tensor, bias: Tensor, mask: Tensor | None):
    """Some windows at a time, and what is added to their logits."""
    step = max(1, PART_BYTES // (bias.numel() * x.element_size()))
    for start in range(0, len(x), step):
        part = slice(start, min(start + step, len(x)))
        added = bias
        if mask is not None:
            windows = torch.arange(part.start, part.stop) % len(mask)
            added = bias + mask[windows, None]
        yield part, added


def _split(
    x: Tensor, weight: Tensor, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (windows, heads, N, C / heads)."""
    qkv = F.linear(x, weight, bias).unflatten(-1, (3, heads, -1))
    return qkv.permute(2, 0, 3, 1, 4).contiguous().unbind()


def _weights(q: Tensor, k: Tensor, added: Tensor, scale: float) -> Tensor:
    weights = (q * scale @ k.mT).add_(added).softmax(-1)
    return F.threshold_(weights, torch.finfo(weights.dtype).tiny, 0)


def _join(out: Tensor) -> Tensor:
    """From (windows, heads, N, C / heads) to (windows * N, C)."""
    return out.transpose(1, 2).flatten(2).flatten(0, 1)


def _heads(tokens: Tensor, like: Tensor) -> Tensor:
    """From (windows * N, C) to (windows, heads, N, C / heads)."""
    windows, heads, length, _ = like.shape
    return tokens.view(windows, length, heads, -1).transpose(1, 2)
