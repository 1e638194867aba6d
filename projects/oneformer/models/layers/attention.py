"""Multi-head attention that shares masks among heads and keys among tasks."""

from collections.abc import Iterable
from typing import Any

from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch import Tensor
from torch.nn import functional as F

from .dropout import can_be_lean
from .dropout_attention import dropout_attention


class Attention(MultiheadAttention):
    """mmcv's multi-head attention through ``scaled_dot_product_attention``.

    Arguments, parameters and their names are those of mmcv's module. Unlike
    it, this one neither keeps the attention weights nor copies the mask for
    every head, and one set of keys serves the queries of several tasks.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: None = None,
    ) -> Tensor:
        """Attend, and add the query.

        Args:
            query (Tensor): (T * B, Q, C): the queries of T tasks, the first
                task of all images first.
            key (Tensor): (B, N, C).
            value (Tensor): (B, N, C), or (1, N, C) if all images share it.
            query_pos (Tensor): Added to ``query``, (1 or T * B, Q, C).
            key_pos (Tensor): Added to ``key``, (1 or B, N, C).
            attn_mask (Tensor, optional): True where attention is blocked,
                (T * B, Q, N), the same for all heads.
            key_padding_mask (None): Not used, part of mmdet's interface.

        Returns:
            Tensor: (T * B, Q, C).
        """
        attn = self.attn
        weights = attn.in_proj_weight.chunk(3)
        biases = attn.in_proj_bias.chunk(3)
        if query is key and query_pos is key_pos:
            # Self attention: one product gives queries and keys.
            q, k = F.linear(
                query + query_pos,
                attn.in_proj_weight[: -len(weights[2])],
                attn.in_proj_bias[: -len(biases[2])],
            ).chunk(2, dim=-1)
        else:
            q = F.linear(query + query_pos, weights[0], biases[0])
            k = F.linear(key + key_pos, weights[1], biases[1])
        v = F.linear(value, weights[2], biases[2])
        # Not len(), whose result is a constant of an exported graph.
        images = k.shape[0]
        q = self.split_heads(fold_tasks(q, images))
        k = self.split_heads(k)
        v = self.split_heads(v).expand(images, -1, -1, -1)
        dropout = attn.dropout if self.training else 0.0
        if dropout and attn_mask is None and can_be_lean(q):
            mixed = dropout_attention(q, k, v, dropout)
        else:
            if attn_mask is not None:
                attn_mask = ~fold_tasks(attn_mask, images)[:, None]
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=attn_mask, dropout_p=dropout
            )  # (B, heads, T * Q, C / heads)
        mixed = unfold_tasks(mixed.transpose(1, 2).flatten(2), query.shape[0])
        return query + self.dropout_layer(self.proj_drop(attn.out_proj(mixed)))

    def split_heads(self, x: Tensor) -> Tensor:
        """Return (B, heads, N, C / heads) of (B, N, C)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def fold_tasks(x: Tensor, images: int) -> Tensor:
    """Put the queries of all tasks of an image side by side.

    Args:
        x (Tensor): (T * B, Q, ...), the first task of all images first.
        images (int): Number of images, B.

    Returns:
        Tensor: (B, T * Q, ...).
    """
    if x.shape[0] == images:
        return x
    return x.unflatten(0, (-1, images)).transpose(0, 1).flatten(1, 2)


def unfold_tasks(x: Tensor, batch: int) -> Tensor:
    """Undo :func:`fold_tasks`.

    Args:
        x (Tensor): (B, T * Q, ...).
        batch (int): T * B.

    Returns:
        Tensor: (T * B, Q, ...).
    """
    if x.shape[0] == batch:
        return x
    x = x.unflatten(1, (batch // x.shape[0], -1))  # (B, T, Q, ...)
    return x.transpose(0, 1).flatten(0, 1)


def use_shared_attention(layers: Iterable[Any]) -> None:
    """Replace the attentions of mmdet's decoder layers, before training."""
    for layer in layers:
        layer.self_attn = Attention(**layer.self_attn_cfg)
        layer.cross_attn = Attention(**layer.cross_attn_cfg)
