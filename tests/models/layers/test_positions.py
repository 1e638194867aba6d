"""Sine positions: the published numbers, and the formula elsewhere."""

import math

import pytest
import torch

from projects.oneformer.models.layers.positions import sine_positions


def encoded(height: int, width: int, channels: int = 256) -> torch.Tensor:
    positions = sine_positions(torch.zeros(2, channels, height, width))
    assert positions.shape == (1, height * width, channels)
    return positions[0].view(height, width, channels)


@pytest.mark.parametrize(
    'y, x, channel, values',
    [
        (0, 0, 0, [0.000001, -1.000000, 0.408752, -0.912645]),
        (0, 0, 128, [0.866026, -0.499999, 0.970651, -0.240494]),
        (1, 2, 0, [-0.000003, 1.000000, -0.746092, 0.665843]),
    ],
)
def test_a_small_map_has_the_published_values(y, x, channel, values):
    found = encoded(2, 3)[y, x, channel : channel + 4]
    torch.testing.assert_close(found, torch.tensor(values), atol=2e-6, rtol=0)


def test_a_small_map_has_the_published_sum():
    assert float(encoded(2, 3).double().sum()) == pytest.approx(
        734.8466, abs=1e-3
    )


def test_every_value_follows_the_formula():
    height, width, half = 5, 4, 8
    positions = encoded(height, width, channels=2 * half)
    for y in range(height):
        for x in range(width):
            for axis, step in enumerate(
                ((y + 1) / (height + 1e-6), (x + 1) / (width + 1e-6))
            ):
                for k in range(half):
                    angle = 2 * math.pi * step / 10000 ** (2 * (k // 2) / half)
                    wave = math.cos(angle) if k % 2 else math.sin(angle)
                    assert float(
                        positions[y, x, axis * half + k]
                    ) == pytest.approx(wave, abs=1e-5)


def test_positions_are_float32_for_half_precision_features():
    half = sine_positions(torch.zeros(1, 64, 3, 5, dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    assert half.equal(sine_positions(torch.zeros(1, 64, 3, 5)))
