"""Neighborhood attention with relative position bias, on two backends.

Each query attends to the ``k x k`` keys around it, ``dilation`` apart; at the
border the window is shifted inwards, so that it is always full.

With dilation ``d`` a query only ever meets keys whose row and column have the
same remainder by ``d``: the map falls apart into ``d x d`` groups, and within
a group the attention has no dilation. That is how all of this is computed.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.backends import Backends, Conditions
from ..layers.tensor_cache import cache_tensors

# Queries of one tile per axis. Larger tiles waste work on keys outside of the
# window, smaller ones copy more keys. Short axes are left whole.
TILE = 8
WHOLE = 16


def _problem(backend: str, _: Conditions) -> str | None:
    return natten_problem() if backend == 'natten' else None


BACKENDS = Backends(
    'Neighborhood attention',
    'backend of DiNAT',
    descriptions=dict(
        pytorch="PyTorch's attention, tile by tile",
        natten='natten, whose version has relative position bias',
    ),
    preferences=dict(cuda=('natten', 'pytorch'), other=('pytorch',)),
    problem=_problem,
)


def neighborhood_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    kernel_size: int,
    dilation: int = 1,
    backend: str = 'auto',
) -> Tensor:
    """Attend to the keys in the neighborhood of each query.

    Keys may reach beyond the queries, to the bottom and to the right: there
    they are padding, which takes part in the attention.

    Args:
        query (Tensor): (B, H, W, heads, D). Scaled by ``D ** -0.5`` here.
        key (Tensor): (B, H', W', heads, D). ``H' >= H`` and ``W' >= W``, and
            both at least ``kernel_size * dilation``.
        value (Tensor): As ``key``.
        bias (Tensor): By relative position, added to the logits,
            (heads, 2 * kernel_size - 1, 2 * kernel_size - 1).
        kernel_size (int): Side of the neighborhood, odd.
        dilation (int): Distance between its keys.
        backend (str): ``'pytorch'``, ``'natten'``, or ``'auto'``, which takes
            natten on a GPU where a version below 0.20 is installed.

    Returns:
        Tensor: (B, H, W, heads, D).

    Raises:
        ValueError: If the keys are too few, the table has another size, or
            the backend cannot be used.

    Source: arXiv:2204.07143 and arXiv:2209.15001.
    """
    _check(query, key, bias, kernel_size, dilation)
    chosen = BACKENDS.choose(
        backend,
        query.device.type,
        query.dtype,
        torch.compiler.is_compiling(),
    )
    attend = _natten if chosen == 'natten' else _grouped
    return attend(
        query, key, value, bias.to(query.dtype), kernel_size, dilation
    )


class Windows(NamedTuple):
    """Windows of the queries of a tile on one axis, the same for many tiles.

    Attributes:
        starts (tuple[int, ...]): First key of the window of each query,
            counted from the first key of the tile.
        offset (int): First key of the tile minus its first query.
    """

    starts: tuple[int, ...]
    offset: int


class Tile(NamedTuple):
    """Queries of one axis, and the keys that their windows cover.

    Attributes:
        queries (slice): Of the axis.
        keys (slice): Of the axis.
        windows (Windows): Of the queries.
    """

    queries: slice
    keys: slice
    windows: Windows


@lru_cache(maxsize=512)
def split_axis(
    num_queries: int, num_keys: int, kernel_size: int
) -> tuple[Tile, ...]:
    """Split an axis into tiles of a few queries."""
    count = 1 if num_queries <= WHOLE else -(-num_queries // TILE)
    bounds = [num_queries * i // count for i in range(count + 1)]
    last = num_keys - kernel_size
    tiles = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        starts = [
            min(max(i - kernel_size // 2, 0), last) for i in range(start, stop)
        ]
        first = starts[0]
        tiles.append(
            Tile(
                slice(start, stop),
                slice(first, starts[-1] + kernel_size),
                Windows(tuple(i - first for i in starts), first - start),
            )
        )
    return tuple(tiles)


def relative_rows(windows: Windows, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Return row of the bias table, and presence, both (queries, keys)."""
    keys = torch.arange(windows.starts[-1] + kernel_size)
    starts = torch.tensor(windows.starts)[:, None]
    within = (keys >= starts) & (keys < starts + kernel_size)
    queries = torch.arange(len(windows.starts))[:, None]
    rows = keys + windows.offset - queries + kernel_size - 1
    return rows.clamp(0, 2 * kernel_size - 2), within


def _tiled(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kernel_size: int
) -> Tensor:
    """Attend without dilation, tile by tile.

    Args:
        query (Tensor): (N, heads, H, W, D).
        key (Tensor): (N, heads, H', W', D).
        value (Tensor): As ``key``.
        bias (Tensor): (heads, 2 * kernel_size - 1, 2 * kernel_size - 1).
        kernel_size (int): Side of the neighborhood.

    Returns:
        Tensor: (N, heads, H, W, D).
    """
    rows = split_axis(query.shape[2], key.shape[2], kernel_size)
    columns = split_axis(query.shape[3], key.shape[3], kernel_size)
    masks = {}
    lines = []
    for row in rows:
        line = []
        for column in columns:
            # All tiles apart from the border have the same windows.
            windows = row.windows, column.windows
            if windows not in masks:
                masks[windows] = _tile_mask(bias, *windows, kernel_size)
            tile = query[:, :, row.queries, column.queries]
            out = F.scaled_dot_product_attention(
                tile.flatten(2, 3),
                key[:, :, row.keys, column.keys].flatten(2, 3),
                value[:, :, row.keys, column.keys].flatten(2, 3),
                attn_mask=masks[windows],
            )  # (N, heads, queries, D)
            line.append(out.view_as(tile))
        lines.append(torch.cat(line, dim=3))
    return torch.cat(lines, dim=2)


def _tile_mask(
    bias: Tensor, row: Windows, column: Windows, kernel_size: int
) -> Tensor:
    """Return the bias within the windows, -inf outside, (1, heads, q, k)."""
    place, outside = _tile_places(row, column, kernel_size, bias.device)
    mask = bias.flatten(1)[:, place].masked_fill(outside, float('-inf'))
    return mask.flatten(3, 4).flatten(1, 2)[None]


@cache_tensors(maxsize=128)
def _tile_places(
    row: Windows, column: Windows, kernel_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return places in the flat bias table, and absence, (qy, qx, ky, kx)."""
    y, within_y = relative_rows(row, kernel_size)
    x, within_x = relative_rows(column, kernel_size)
    place = y[:, None, :, None] * (2 * kernel_size - 1) + x[:, None]
    within = within_y[:, None, :, None] & within_x[:, None]
    return place.to(device), ~within.to(device)


class Residues(NamedTuple):
    """Remainders by the dilation whose groups have the same lengths.

    Attributes:
        remainders (slice): Of an axis.
        num_queries (int): Of each group along the axis, not 0.
        num_keys (int): Of each group along the axis.
    """

    remainders: slice
    num_queries: int
    num_keys: int


def split_remainders(
    num_queries: int, num_keys: int, dilation: int
) -> Iterator[Residues]:
    """Sort the remainders of an axis by the lengths of their groups."""
    cuts = sorted({0, num_queries % dilation, num_keys % dilation, dilation})
    for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
        lengths = [
            -(-(n - start) // dilation) for n in (num_queries, num_keys)
        ]
        if lengths[0]:
            yield Residues(slice(start, stop), *lengths)


def _grouped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    kernel_size: int,
    dilation: int,
) -> Tensor:
    """Attend without dilation within each group of the map."""
    height, width = query.shape[1:3]
    queries, keys, values = (
        _fold(tensor, dilation) for tensor in (query, key, value)
    )
    full = -(-height // dilation), -(-width // dilation)
    lines = []
    for row in split_remainders(height, key.shape[1], dilation):
        line = []
        for column in split_remainders(width, key.shape[2], dilation):
            out = _tiled(
                _pick(queries, row, column, 'num_queries'),
                _pick(keys, row, column, 'num_keys'),
                _pick(values, row, column, 'num_keys'),
                bias,
                kernel_size,
            )  # (B * remainders, heads, rows, columns, D)
            line.append(_unpick(out, row, column, full))
        lines.append(torch.cat(line, dim=4))
    out = torch.cat(lines, dim=2)  # (B, rows, dy, columns, dx, heads, D)
    out = out.flatten(3, 4).flatten(1, 2)
    return out[:, :height, :width]


def _fold(tensor: Tensor, dilation: int) -> Tensor:
    """(B, H, W, heads, D) -> (B, H / d, d, W / d, d, heads, D)."""
    height, width = tensor.shape[1:3]
    pad = (0, 0, 0, 0, 0, -width % dilation, 0, -height % dilation)
    tensor = F.pad(tensor, pad)
    return tensor.unflatten(2, (-1, dilation)).unflatten(1, (-1, dilation))


def _pick(
    folded: Tensor, row: Residues, column: Residues, length: str
) -> Tensor:
    """Return some groups, (B * remainders, heads, rows, columns, D)."""
    groups = folded[
        :,
        : getattr(row, length),
        row.remainders,
        : getattr(column, length),
        column.remainders,
    ]
    return groups.permute(0, 2, 4, 5, 1, 3, 6).flatten(0, 2)


def _unpick(
    groups: Tensor, row: Residues, column: Residues, full: tuple[int, int]
) -> Tensor:
    """Undo :func:`_pick`, padded to ``full`` rows and columns."""
    counts = [
        part.remainders.stop - part.remainders.start for part in (row, column)
    ]
    out = groups.unflatten(0, (-1, *counts)).permute(0, 4, 1, 5, 2, 3, 6)
    missing = full[0] - out.shape[1], full[1] - out.shape[3]
    return F.pad(out, (0,) * 7 + (missing[1],) + (0,) * 3 + (missing[0],))


def natten_problem() -> str | None:
    """Return why natten cannot compute this attention, None if it can."""
    return _find_natten()[1]


def _natten(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    kernel_size: int,
    dilation: int,
) -> Tensor:
    """Attend by the unfused ops of natten, which want equal sizes."""
    height, width = query.shape[1:3]
    pad = (0, 0, 0, 0, 0, key.shape[2] - width, 0, key.shape[1] - height)
    query = F.pad(query * query.shape[-1] ** -0.5, pad)
    query, key, value = (
        tensor.permute(0, 3, 1, 2, 4).contiguous()
        for tensor in (query, key, value)
    )  # (B, heads, H', W', D)
    functions, problem = _find_natten()
    assert functions is not None, problem
    weigh, gather = functions
    logits = weigh(
        query, key, rpb=bias, kernel_size=kernel_size, dilation=dilation
    )
    weights = logits.softmax(dim=-1).to(value.dtype)
    out = gather(weights, value, kernel_size, dilation)
    return out.permute(0, 2, 3, 1, 4)[:, :height, :width]


@lru_cache(maxsize=1)
def _find_natten() -> tuple[tuple[Callable, Callable] | None, str | None]:
    """Return natten's functions and None, or None and the problem.

    From 0.17 the functions are ``na2d_qk`` and ``na2d_av``, before
    ``natten2dqkrpb`` and ``natten2dav``. 0.20 and later have no position
    bias, the first versions no ``kernel_size``.
    """
    try:
        functional = importlib.import_module('natten.functional')
    except ImportError:
        return None, 'natten is not installed'
    names = ('na2d_qk', 'na2d_av'), ('natten2dqkrpb', 'natten2dav')
    for pair in names:
        weigh, gather = (getattr(functional, name, None) for name in pair)
        if weigh is None or gather is None:
            continue
        if {'rpb', 'kernel_size'} <= inspect.signature(
            weigh
        ).parameters.keys():
            return (weigh, gather), None
    return None, (
        'the installed natten has no relative position bias, versions '
        'below 0.20 have it'
    )


def _check(
    query: Tensor, key: Tensor, bias: Tensor, kernel_size: int, dilation: int
) -> None:
    needed = kernel_size * dilation
    if min(key.shape[1:3]) < needed:
        raise ValueError(
            f'Expected at least {needed} x {needed} keys for kernel_size '
            f'{kernel_size} and dilation {dilation}, got '
            f'{key.shape[1]} x {key.shape[2]}: pad the map first.'
        )
    table = (query.shape[3], 2 * kernel_size - 1, 2 * kernel_size - 1)
    if bias.shape != table:
        raise ValueError(
            f'Expected a relative position bias of {table} for kernel_size '
            f'{kernel_size}, got {tuple(bias.shape)}.'
        )
