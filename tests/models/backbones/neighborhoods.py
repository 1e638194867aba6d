"""Neighborhood attention from its definition, query by query: an oracle.

Indices are those of the original, as published in NATTEN 0.14: where the
window of a query starts, and where it starts in the table of biases.
"""

import torch
from torch import Tensor


def window(i: int, length: int, kernel_size: int, dilation: int) -> int:
    """Return the first key of the query at ``i`` on an axis."""
    radius = kernel_size // 2
    if dilation == 1:
        start = max(i - radius, 0)
        if i + radius >= length:
            start += length - i - radius - 1
        return start
    start = i - radius * dilation
    if start < 0:
        return i % dilation
    if i + radius * dilation < length:
        return start
    remainder, whole = i % dilation, length // dilation * dilation
    rest = length - whole
    if remainder < rest:
        return length - rest + remainder - 2 * radius * dilation
    return whole + remainder - kernel_size * dilation


def bias_window(i: int, length: int, kernel_size: int, dilation: int) -> int:
    """Return the first row of the bias table of the query at ``i``."""
    radius = kernel_size // 2
    if dilation == 1:
        start = radius
        if i < radius:
            start += radius - i
        if i + radius >= length:
            start += length - i - 1 - radius
        return start
    if i - radius * dilation < 0:
        return kernel_size - 1 - i // dilation
    if i + radius * dilation >= length:
        return (length - i - 1) // dilation
    return radius


def axis_indices(
    num_queries: int, length: int, kernel_size: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Return keys and rows of the table, both (num_queries, kernel_size)."""
    args = (length, kernel_size, dilation)
    steps = torch.arange(kernel_size)
    keys = [window(i, *args) + steps * dilation for i in range(num_queries)]
    rows = [bias_window(i, *args) + steps for i in range(num_queries)]
    return torch.stack(keys), torch.stack(rows)


def logits(
    query: Tensor, key: Tensor, bias: Tensor, kernel_size: int, dilation: int
) -> Tensor:
    """Return scaled query times key plus bias, (B, h, H, W, k * k)."""
    height, width = query.shape[2:4]
    y, by = axis_indices(height, key.shape[2], kernel_size, dilation)
    x, bx = axis_indices(width, key.shape[3], kernel_size, dilation)
    near = key[:, :, y][:, :, :, :, x]  # (B, h, H, k, W, k, D)
    out = torch.einsum('bhyxd,bhyixjd->bhyxij', query, near)
    out = out + bias[:, by][:, :, :, bx].permute(0, 1, 3, 2, 4)
    return out.flatten(4)


def gather(
    weights: Tensor, value: Tensor, kernel_size: int, dilation: int
) -> Tensor:
    """Return the weighted values of the windows, (B, h, H, W, D)."""
    height, width = weights.shape[2:4]
    y, _ = axis_indices(height, value.shape[2], kernel_size, dilation)
    x, _ = axis_indices(width, value.shape[3], kernel_size, dilation)
    near = value[:, :, y][:, :, :, :, x]
    weights = weights.unflatten(-1, (kernel_size, kernel_size))
    return torch.einsum('bhyxij,bhyixjd->bhyxd', weights, near)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    kernel_size: int,
    dilation: int,
) -> Tensor:
    """Return the attention of (B, H, W, heads, D), in the same layout."""
    query, key, value = (
        tensor.permute(0, 3, 1, 2, 4) for tensor in (query, key, value)
    )
    scaled = query * query.shape[-1] ** -0.5
    weights = logits(scaled, key, bias, kernel_size, dilation).softmax(-1)
    out = gather(weights, value, kernel_size, dilation)
    return out.permute(0, 2, 3, 1, 4)
