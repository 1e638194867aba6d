"""The sampling of deformable attention as Triton kernels.

Import this module only where Triton is installed. Values may be float32,
float16 or bfloat16; sums are float32. Triton compiles the kernels when they
first run. Gradients of values are added atomically, so in no fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .deformable_sampling import Levels

# Queries a program computes. Not tuned.
BLOCK = 32


def sample_triton(
    value: Tensor, levels: Levels, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sum what each query samples on all levels, by Triton kernels.

    Args and result are those of ``sample_grid`` in ``deformable_sampling``.
    """
    return _sample(
        value.contiguous(),
        levels.shapes,
        levels.starts,
        locations.contiguous(),
        weights.contiguous(),
    )


@torch.library.custom_op('oneformer::sample_levels', mutates_args=())
def _sample(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    output = _like_output(value, shapes, starts, locations, weights)
    grid, sizes = _launch(value, locations)
    _forward_kernel[grid](
        value, shapes, starts, locations, weights, output, **sizes
    )
    return output


@_sample.register_fake
def _like_output(value, shapes, starts, locations, weights):
    batch, queries = locations.shape[:2]
    return value.new_empty(batch, queries, value.shape[2] * value.shape[3])


@torch.library.custom_op('oneformer::sample_levels_backward', mutates_args=())
def _sample_backward(
    grad: Tensor,
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    # Many queries add to one value: too many for half precision.
    grad_value = torch.zeros_like(value, dtype=torch.float32)
    grad_locations = torch.empty_like(locations)
    grad_weights = torch.empty_like(weights)
    grid, sizes = _launch(value, locations)
    _backward_kernel[grid](
        value,
        shapes,
        starts,
        locations,
        weights,
        grad.contiguous(),
        grad_value,
        grad_locations,
        grad_weights,
        **sizes,
    )
    return grad_value.to(value.dtype), grad_locations, grad_weights


@_sample_backward.register_fake
def _like_inputs(grad, value, shapes, starts, locations, weights):
    return tuple(torch.empty_like(x) for x in (value, locations, weights))


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad):
    grads = _sample_backward(grad, *ctx.saved_tensors)
    return grads[0], None, None, *grads[1:]


_sample.register_autograd(_differentiate, setup_context=_keep_inputs)


def _launch(value: Tensor, locations: Tensor) -> tuple[tuple, dict]:
    """The grid of programs, and the sizes that both kernels ask for."""
    _, length, heads, channels = value.shape
    batch, queries, _, levels, points, _ = locations.shape
    sizes = dict(
        length=length,
        queries=queries,
        rows=batch * queries,
        heads=heads,
        CHANNELS=channels,
        WIDTH=triton.next_power_of_2(channels),
        LEVELS=levels,
        POINTS=points,
        BLOCK=BLOCK,
    )
    return (triton.cdiv(batch * queries, BLOCK), heads), sizes


@triton.jit
def _before(locations, sample, axis: tl.constexpr, size, valid):
    """The token before each point, how far behind, and if near the map."""
    place = tl.load(locations + 2 * sample + axis, mask=valid, other=0.0)
    place = place.to(tl.float32) * size - 0.5
    near = valid & (place > -1) & (place < size)
    # What is far or no number must not become an integer.
    place = tl.where(near, place, 0.0)
    token = tl.floor(place)
    return token.to(tl.int32), place - token, near


@triton.jit
def _corner(left, top, x, y, near, height, width, corner: tl.constexpr):
    """One of the four tokens around points: which, its shares, if it is."""
    row = top + corner // 2
    column = left + corner % 2
    known = near & (row >= 0) & (row < height)
    known = known & (column >= 0) & (column < width)
    by_x = x if corner % 2 else 1 - x
    by_y = y if corner // 2 else 1 - y
    return row * width + column, by_x, by_y, known


@triton.jit
def _forward_kernel(
    value,  # (B, N, heads, CHANNELS)
    shapes,  # (LEVELS, 2)
    starts,  # (LEVELS,)
    locations,  # (B, Q, heads, LEVELS, POINTS, 2)
    weights,  # (B, Q, heads, LEVELS, POINTS)
    output,  # (B, Q, heads, CHANNELS)
    length,
    queries,
    rows,
    heads,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    head = tl.program_id(1)
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = query < rows
    image = (query // queries) * length
    channel = tl.arange(0, WIDTH)[None]
    total = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    for level in range(LEVELS):
        height = tl.load(shapes + 2 * level).to(tl.int32)
        width = tl.load(shapes + 2 * level + 1).to(tl.int32)
        first = image + tl.load(starts + level)
        for point in range(POINTS):
            sample = ((query * heads + head) * LEVELS + level) * POINTS + point
            share = tl.load(weights + sample, mask=valid, other=0.0)
            share = share.to(tl.float32)
            left, x, near_x = _before(locations, sample, 0, width, valid)
            top, y, near_y = _before(locations, sample, 1, height, valid)
            near = near_x & near_y
            for corner in tl.static_range(4):
                token, by_x, by_y, known = _corner(
                    left, top, x, y, near, height, width, corner
                )
                here = ((first + token) * heads + head) * CHANNELS
                values = tl.load(
                    value + here[:, None] + channel,
                    mask=known[:, None] & (channel < CHANNELS),
                    other=0.0,
                ).to(tl.float32)
                total += (share * by_x * by_y)[:, None] * values
    tl.store(
        output + ((query * heads + head) * CHANNELS)[:, None] + channel,
        total,
        mask=valid[:, None] & (channel < CHANNELS),
    )


@triton.jit
def _backward_kernel(
    value,  # (B, N, heads, CHANNELS)
    shapes,  # (LEVELS, 2)
    starts,  # (LEVELS,)
    locations,  # (B, Q, heads, LEVELS, POINTS, 2)
    weights,  # (B, Q, heads, LEVELS, POINTS)
    grad,  # (B, Q, heads, CHANNELS)
    grad_value,  # as value, zeros in float32
    grad_locations,  # as locations
    grad_weights,  # as weights
    length,
    queries,
    rows,
    heads,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    head = tl.program_id(1)
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = query < rows
    image = (query // queries) * length
    channel = tl.arange(0, WIDTH)[None]
    received = tl.load(
        grad + ((query * heads + head) * CHANNELS)[:, None] + channel,
        mask=valid[:, None] & (channel < CHANNELS),
        other=0.0,
    ).to(tl.float32)
    for level in range(LEVELS):
        height = tl.load(shapes + 2 * level).to(tl.int32)
        width = tl.load(shapes + 2 * level + 1).to(tl.int32)
        first = image + tl.load(starts + level)
        for point in range(POINTS):
            sample = ((query * heads + head) * LEVELS + level) * POINTS + point
            share = tl.load(weights + sample, mask=valid, other=0.0)
            share = share.to(tl.float32)
            left, x, near_x = _before(locations, sample, 0, width, valid)
            top, y, near_y = _before(locations, sample, 1, height, valid)
            near = near_x & near_y
            along_x = tl.zeros((BLOCK,), dtype=tl.float32)
            along_y = tl.zeros((BLOCK,), dtype=tl.float32)
            sampled = tl.zeros((BLOCK,), dtype=tl.float32)
            for corner in tl.static_range(4):
                token, by_x, by_y, known = _corner(
                    left, top, x, y, near, height, width, corner
                )
                here = ((first + token) * heads + head) * CHANNELS
                here = here[:, None] + channel
                mask = known[:, None] & (channel < CHANNELS)
                values = tl.load(value + here, mask=mask, other=0.0)
                product = tl.sum(received * values.to(tl.float32), axis=1)
                sampled += by_x * by_y * product
                along_x += product * (by_y if corner % 2 else -by_y)
                along_y += product * (by_x if corner // 2 else -by_x)
                tl.atomic_add(
                    grad_value + here,
                    (share * by_x * by_y)[:, None] * received,
                    mask=mask,
                )
            tl.store(grad_weights + sample, sampled, mask=valid)
            place = grad_locations + 2 * sample
            tl.store(place, along_x * share * width, mask=valid)
            tl.store(place + 1, along_y * share * height, mask=valid)
