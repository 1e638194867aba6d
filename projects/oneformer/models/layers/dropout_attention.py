"""Attention with dropout that saves no weights for the backward pass.

PyTorch's fused attention has dropout on a GPU only. Elsewhere it saves all
weights, their dropout and both products: a gigabyte for two layers of 150
queries over a map of 128 x 128 in a batch of two. Recomputing PyTorch's own in
the backward pass takes 2.6 times as long as this, and three times the memory
while it runs.
"""

import torch
from torch import Tensor

from .dropout import draw_kept


def dropout_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout: float
) -> Tensor:
    """Attend with dropout on the weights, head by head.

    The backward pass recomputes the weights; which of them were dropped is
    saved as one byte each, see :func:`draw_kept`.

    Args:
        query (Tensor): (B, heads, Q, D).
        key (Tensor): (B, heads, N, D).
        value (Tensor): As ``key``.
        dropout (float): Share of the weights that is dropped, in [0, 1).

    Returns:
        Tensor: (B, heads, Q, D).
    """
    return _DropoutAttention.apply(query, key, value, dropout)


class _DropoutAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, dropout):
        scale = query.shape[-1] ** -0.5
        batch, heads, queries, _ = query.shape
        kept, share = draw_kept((*query.shape[:3], key.shape[2]), dropout)
        out = torch.empty_like(query)
        for b in range(batch):
            for h in range(heads):
                weights = (query[b, h] * scale) @ key[b, h].T
                weights = weights.softmax(-1)
                weights *= kept[b, h].to(weights.dtype)
                torch.mm(weights, value[b, h], out=out[b, h])
        out /= share
        ctx.save_for_backward(query, key, value, kept, out)
        ctx.scale, ctx.share = scale, share
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, kept, out = ctx.saved_tensors
        grads = [torch.empty_like(t) for t in (query, key, value)]
        for b in range(query.shape[0]):
            for h in range(query.shape[1]):
                q, k, v = query[b, h], key[b, h], value[b, h]
                weights = ((q * ctx.scale) @ k.T).softmax(-1)  # (Q, N)
                thinned = weights * kept[b, h].to(weights.dtype)
                above = grad[b, h] / ctx.share
                torch.mm(thinned.T, above, out=grads[2][b, h])
                # Through dropout, then through the softmax.
                slope = (above @ v.T).mul_(thinned)
                total = (above * out[b, h] * ctx.share).sum(-1, keepdim=True)
                slope.addcmul_(weights, total, value=-1)
                torch.mm(slope, k * ctx.scale, out=grads[0][b, h])
                torch.mm(slope.T, q * ctx.scale, out=grads[1][b, h])
        return *grads, None
