"""Attention with dropout that keeps no weights for its gradient.

PyTorch's fused attention knows dropout on a GPU only. Elsewhere it keeps all
weights, their dropout and both products: a gigabyte for two layers of 150
queries over a map of 128 x 128 in a batch of two.
"""

import torch
from torch import Tensor

_BITS = 16


def dropout_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout: float
) -> Tensor:
    """Attend with dropout on the weights, head by head.

    Weights are computed again for the gradient; which of them were dropped is
    kept as one byte each. The rate is rounded to a multiple of 2 ** -16.

    Args:
        query (Tensor): (B, heads, Q, D).
        key (Tensor): (B, heads, N, D).
        value (Tensor): As ``key``.
        dropout (float): Share of the weights that is dropped, in [0, 1).

    Returns:
        Tensor: (B, heads, Q, D).
    """
    return _DropoutAttention.apply(query, key, value, dropout)


def draw_kept(shape: tuple[int, ...], dropout: float) -> tuple[Tensor, float]:
    """Draw which elements are kept, and say how probable that is.

    Four decisions share a random number of 64 bits, which PyTorch draws on a
    CPU one by one.

    Args:
        shape (tuple[int, ...]): Of the result.
        dropout (float): Share that is dropped.

    Returns:
        tuple[Tensor, float]: bool, of that shape, on the CPU; share kept.
    """
    size = torch.Size(shape).numel()
    words = torch.empty(-(-size * _BITS // 64), dtype=torch.int64)
    words.random_(torch.iinfo(torch.int64).min, None)
    dropped = round(dropout * 2**_BITS)
    kept = words.view(torch.int16)[:size] >= dropped - 2 ** (_BITS - 1)
    return kept.view(shape), 1 - dropped / 2**_BITS


class _DropoutAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, dropout):
        scale = query.shape[-1] ** -0.5
        batch, heads, queries, _ = query.shape
        kept, share = draw_kept((*query.shape[:3], key.shape[2]), dropout)
        kept = kept.to(query.device)
        out = torch.empty_like(query)
        for b in range(batch):
            for h in range(heads):
                weights = (query[b, h] * scale) @ key[b, h].T
                weights = weights.softmax(-1).mul_(kept[b, h]).div_(share)
                torch.mm(weights, value[b, h], out=out[b, h])
        ctx.save_for_backward(query, key, value, kept)
        ctx.scale, ctx.share = scale, share
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, kept = ctx.saved_tensors
        grads = [torch.empty_like(t) for t in (query, key, value)]
        for b in range(query.shape[0]):
            for h in range(query.shape[1]):
                q, k, v = query[b, h], key[b, h], value[b, h]
                mask = kept[b, h]
                weights = ((q * ctx.scale) @ k.T).softmax(-1)  # (Q, N)
                thinned = (weights * mask).div_(ctx.share)
                torch.mm(thinned.T, grad[b, h], out=grads[2][b, h])
                # Through dropout, then through the softmax.
                slope = (grad[b, h] @ v.T).mul_(thinned)
                slope -= weights.mul_(slope.sum(-1, keepdim=True))
                slope *= ctx.scale
                torch.mm(slope, k, out=grads[0][b, h])
                torch.mm(slope.T, q, out=grads[1][b, h])
        return *grads, None
