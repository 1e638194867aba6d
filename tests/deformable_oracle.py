"""Deformable attention by its formula, and inputs to try it with."""

from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """Shapes of an input: what is odd about it is its name in ``CASES``."""

    sizes: tuple[tuple[int, int], ...]  # height and width of each level
    batch: int = 1
    queries: int = 5
    heads: int = 1
    channels: int = 4
    points: int = 2


CASES = dict(
    one_token=Case(((1, 1),)),
    one_row_and_one_column=Case(((1, 7), (6, 1)), heads=2),
    growing_levels=Case(((2, 3), (4, 6), (8, 12)), batch=2, heads=2),
    shrinking_levels=Case(((5, 4), (3, 2), (1, 1)), points=1),
    odd_channels_and_points=Case(((3, 4),), heads=3, channels=5, points=3),
    one_channel=Case(((4, 4), (2, 5)), channels=1),
    more_queries_than_a_block=Case(((3, 3), (2, 2)), batch=2, queries=35),
)
# As large as differences by rounding may be, relative to the largest value.
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}


def draw(case: Case, dtype: torch.dtype = torch.float32, seed: int = 0):
    """Return values, locations, weights and a gradient of the result.

    A third of the points lies beyond the maps, some of them far.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (case.batch, case.queries, case.heads)
    points = (*shape, len(case.sizes), case.points)
    tokens = sum(height * width for height, width in case.sizes)
    value = torch.randn(
        case.batch, tokens, case.heads, case.channels, generator=generator
    )
    locations = torch.rand(*points, 2, generator=generator) * 1.6 - 0.3
    locations[:, 0, :, :, 0] = torch.tensor([1e6, 0.5])
    locations[:, 1, :, :, 0] = torch.tensor([0.5, -1e6])
    weights = torch.rand(points, generator=generator)
    grad = torch.randn(
        case.batch,
        case.queries,
        case.heads * case.channels,
        generator=generator,
    )
    return value.to(dtype), locations, weights, grad.to(dtype)


def formula(
    value: Tensor,
    sizes: tuple[tuple[int, int], ...],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Sum over all tokens: each has a share in the points within a pixel.

    Along an axis that share falls linearly from 1 at the centre of the token
    to 0 one token further, which is bilinear sampling with zeros beyond the
    map. Arguments and result are those of ``sample_grid``.
    """
    total = 0
    for level, tokens in enumerate(
        value.split([height * width for height, width in sizes], dim=1)
    ):
        height, width = sizes[level]
        x, y = locations[:, :, :, level].unbind(-1)  # (B, Q, heads, points)
        centres_x = (torch.arange(width) + 0.5) / width
        centres_y = (torch.arange(height) + 0.5) / height
        by_x = (1 - ((x[..., None] - centres_x) * width).abs()).clamp(min=0)
        by_y = (1 - ((y[..., None] - centres_y) * height).abs()).clamp(min=0)
        total = total + torch.einsum(
            'bqhp,bqhpi,bqhpj,bijhc->bqhc',
            weights[:, :, :, level],
            by_y,
            by_x,
            tokens.unflatten(1, (height, width)),
        )
    return total.flatten(2)


def by_formula(case: Case, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Result and gradients of value, locations and weights, in float64."""
    *inputs, grad = (x.double() for x in draw(case, dtype, seed))
    inputs = [x.requires_grad_() for x in inputs]
    value, locations, weights = inputs
    result = formula(value, case.sizes, locations, weights)
    return [result.detach(), *torch.autograd.grad(result, inputs, grad)]


def assert_near(found: list[Tensor], expected: list[Tensor], dtype) -> None:
    """Compare results and gradients up to the rounding of their types."""
    names = ('result', 'value', 'locations', 'weights')
    for name, ours, theirs in zip(names, found, expected, strict=True):
        assert ours.dtype == (
            dtype if name in ('result', 'value') else torch.float32
        )
        # Results are rounded to the type; what is left is in float32.
        scale = float(theirs.abs().max())
        torch.testing.assert_close(
            ours.double(),
            theirs,
            rtol=0,
            atol=ROUNDING[ours.dtype] * scale,
            msg=lambda text, name=name: f'{name}: {text}',
        )
