"""The sampling of deformable attention, in two ways of plain PyTorch.

Both compute what :func:`sample_grid` says; which is faster depends on the
device. docs/deformable_attention.md has the measurements.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# The four cells around a point: down, then right of the upper left one.
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class Levels(NamedTuple):
    """The sizes of the maps whose tokens stand one after another.

    Python knows them, so that the host never waits for the device, and the
    device has them for kernels.
    """

    sizes: tuple[tuple[int, int], ...]  # height and width of each level
    shapes: Tensor  # the same, int64, (levels, 2)
    starts: Tensor  # first token of each level, int64, (levels,)

    @classmethod
    def of(
        cls, sizes: tuple[tuple[int, int], ...], device: torch.device | str
    ) -> 'Levels':
        """Describe maps of these heights and widths to a device."""
        starts = [0]
        for height, width in sizes[:-1]:
            starts.append(starts[-1] + height * width)
        return cls(
            sizes,
            torch.tensor(sizes, device=device),
            torch.tensor(starts, device=device),
        )

    @property
    def lengths(self) -> list[int]:
        """How many tokens each level has."""
        return [height * width for height, width in self.sizes]


def sample_grid(
    value: Tensor, levels: Levels, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sum what each query samples on all levels, by ``grid_sample``.

    Sampling is bilinear between the centres of the tokens, and all is zero
    beyond the map. Half precision is summed in float32.

    Args:
        value (Tensor): Tokens of all levels, (B, N, heads, C).
        levels (Levels): Sizes of the levels, N tokens in all.
        locations (Tensor): x and y of the points, 0 and 1 being the borders
            of the map, (B, Q, heads, levels, points, 2).
        weights (Tensor): Attention of the points,
            (B, Q, heads, levels, points).

    Returns:
        Tensor: In the type of ``value``, (B, Q, heads * C).
    """
    batch, _, heads, channels = value.shape
    exact = _exact(value.dtype)
    maps = value.to(exact).permute(0, 2, 3, 1).flatten(0, 1)  # (B h, C, N)
    grids = (2 * locations.to(exact) - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.to(exact).transpose(1, 2).flatten(0, 1)
    total: Any = 0
    for level, tokens in enumerate(maps.split(levels.lengths, dim=-1)):
        sampled = F.grid_sample(
            tokens.unflatten(-1, levels.sizes[level]),
            grids[:, :, level],
            padding_mode='zeros',
            align_corners=False,
        )  # (B h, C, Q, points)
        total = total + (sampled * shares[:, None, :, level]).sum(-1)
    total = total.view(batch, heads * channels, -1)
    return total.transpose(1, 2).to(value.dtype).contiguous()


def sample_rows(
    value: Tensor, levels: Levels, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sum what each query samples on all levels, by ``embedding_bag``.

    The tokens of all levels, framed by zeros, are the rows of one table, and
    each query sums four rows a point. The gradient of the tokens is summed
    the other way round after one sort of the points, always in the same
    order.

    Args and result are those of :func:`sample_grid`.
    """
    exact = _exact(value.dtype)
    summed = _SampleRows.apply(
        value.to(exact),
        locations.to(exact),
        weights.to(exact),
        levels.sizes,
        levels.shapes,
    )
    return summed.to(value.dtype)


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class _Cells(NamedTuple):
    """Which rows of the table each point lies between, (R, K).

    R counts image, query and head, K counts level and point.
    """

    rows: Tensor  # upper left of the four, int32
    steps: Tensor  # from there to each of the four, int32, (4, K)
    fractions: Tensor  # x and y from there, in [0, 1], (2, R, K)
    inside: Tensor  # whether x and y are not clamped to the frame, (2, R, K)


class _SampleRows(torch.autograd.Function):
    """Saves only its inputs for the backward pass."""

    @staticmethod
    def forward(ctx, value, locations, weights, sizes, shapes):
        ctx.save_for_backward(value, locations, weights, shapes)
        ctx.sizes = sizes
        cells = _find_cells(locations, shapes)
        summed = F.embedding_bag(
            _corner_rows(cells),
            _framed(value, sizes),
            per_sample_weights=_corner_weights(cells, weights).flatten(1),
            mode='sum',
        )
        return summed.view(*locations.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        value, locations, weights, shapes = ctx.saved_tensors
        cells = _find_cells(locations, shapes)
        grad = grad.reshape(len(cells.rows), -1)  # (R, C)
        products = _corner_products(grad, _framed(value, ctx.sizes), cells)
        grad_locations, grad_weights = _point_gradients(
            products, cells, weights, shapes
        )
        return (
            _value_gradient(grad, cells, weights, value, ctx.sizes),
            grad_locations,
            grad_weights,
            None,
            None,
        )


def _framed(value: Tensor, sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """Frame every level with zeros; rows of the table, (B * N' * heads, C)."""
    lengths = [height * width for height, width in sizes]
    framed = [
        F.pad(tokens.unflatten(1, size), (0, 0, 0, 0, 1, 1, 1, 1)).flatten(
            1, 2
        )
        for tokens, size in zip(value.split(lengths, 1), sizes, strict=True)
    ]
    return torch.cat(framed, dim=1).flatten(0, 2)


def _find_cells(locations: Tensor, shapes: Tensor) -> _Cells:
    batch, queries, heads, _, points, _ = locations.shape
    device = locations.device
    shapes = shapes.int()
    areas = (shapes + 2).prod(1, dtype=torch.int32)  # with the frame
    starts = areas.cumsum(0, dtype=torch.int32) - areas
    height, width = shapes.repeat_interleave(points, 0).unbind(1)  # (K,)
    start = starts.repeat_interleave(points)

    x, y = locations.flatten(0, 2).flatten(1, 2).unbind(-1)  # (R, K)
    left, x_fraction, x_inside = _cell_along_axis(x, width)
    top, y_fraction, y_inside = _cell_along_axis(y, height)
    rows = (top + 1) * (width + 2) + (left + (start + 1))
    # A row is one head of one token of one image.
    image = torch.arange(batch, dtype=torch.int32, device=device)
    head = torch.arange(heads, dtype=torch.int32, device=device)
    first = image[:, None] * (areas.sum(dtype=torch.int32) * heads) + head
    rows = (rows * heads).view(batch, queries, heads, -1)
    rows = (rows + first[:, None, :, None]).flatten(0, 2)
    steps = [(down * (width + 2) + right) * heads for down, right in CORNERS]
    return _Cells(
        rows,
        torch.stack(steps),
        torch.stack((x_fraction, y_fraction)),
        torch.stack((x_inside, y_inside)),
    )


def _cell_along_axis(
    position: Tensor, size: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The token before each position of [0, 1], -1 being in the frame."""
    position = position * size - 0.5
    clamped = position.clamp(min=-1).minimum(size.to(position.dtype))
    # The second clamp is for the last position, and for what is no number.
    token = clamped.floor().int().clamp(min=-1).minimum(size - 1)
    return token, clamped - token, clamped == position


def _corner_rows(cells: _Cells) -> Tensor:
    return (cells.rows[:, None] + cells.steps).flatten(1)  # (R, 4 * K)


def _corner_weights(cells: _Cells, weights: Tensor) -> Tensor:
    """What the four tokens around each point contribute, (R, 4, K)."""
    x, y = cells.fractions
    weights = weights.reshape(x.shape)
    lower = weights * y
    along_y = torch.stack((weights - lower, lower), dim=1)  # (R, 2, K)
    along_x = torch.stack((1 - x, x), dim=1)
    return (along_y[:, :, None] * along_x[:, None]).flatten(1, 2)


def _corner_products(grad: Tensor, table: Tensor, cells: _Cells) -> Tensor:
    """Products of gradient and the four tokens of each point, (4, R, K)."""
    rows = _corner_rows(cells)
    count, size = rows.shape
    bags = torch.arange(count, dtype=torch.int32, device=rows.device)
    products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad,
        table,
        rows.flatten(),
        bags * size,
        bags[:, None].expand(-1, size).flatten(),
        0,  # mode='sum'
    )
    return products.view(count, 4, -1).transpose(0, 1)


def _point_gradients(
    products: Tensor, cells: _Cells, weights: Tensor, shapes: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of locations and of weights."""
    upper_left, upper_right, lower_left, lower_right = products
    x, y = cells.fractions
    upper = upper_left.lerp(upper_right, x)
    lower = lower_left.lerp(lower_right, x)
    by_x = (upper_right - upper_left).lerp(lower_right - lower_left, y)
    height, width = shapes.repeat_interleave(weights.shape[-1], 0).unbind(1)
    flat = weights.reshape(x.shape)
    x_inside, y_inside = cells.inside
    locations = torch.stack(
        (
            by_x * flat * width * x_inside,
            (lower - upper) * flat * height * y_inside,
        ),
        dim=-1,
    )
    return (
        locations.view(*weights.shape, 2),
        upper.lerp(lower, y).view(weights.shape),
    )


def _value_gradient(
    grad: Tensor,
    cells: _Cells,
    weights: Tensor,
    value: Tensor,
    sizes: tuple[tuple[int, int], ...],
) -> Tensor:
    """Gradient of the tokens: each sums the queries that sampled it."""
    batch, _, heads, _ = value.shape
    rows, order = cells.rows.flatten().sort(stable=True)
    queries = (order // cells.rows.shape[1]).int()
    shares = _corner_weights(cells, weights).transpose(0, 1).flatten(1)
    areas = [(height + 2) * (width + 2) for height, width in sizes]
    table_rows = torch.arange(
        batch * sum(areas) * heads, dtype=torch.int32, device=rows.device
    )
    first = torch.searchsorted(rows, table_rows, out_int32=True)
    total: Any = 0
    for (down, right), share in zip(CORNERS, shares, strict=True):
        by_cell = F.embedding_bag(
            queries, grad, first, per_sample_weights=share[order], mode='sum'
        )  # (B * N' * heads, C)
        levels = by_cell.view(batch, -1, heads, grad.shape[1]).split(areas, 1)
        total = total + torch.cat(
            [
                _moved(level, size, down, right)
                for level, size in zip(levels, sizes, strict=True)
            ],
            dim=1,
        )
    return total


def _moved(
    framed: Tensor, size: tuple[int, int], down: int, right: int
) -> Tensor:
    """Move a framed map down and right, then take its frame off."""
    height, width = size
    cells = framed.unflatten(1, (height + 2, width + 2))
    top, left = 1 - down, 1 - right
    return cells[:, top : top + height, left : left + width].flatten(1, 2)
