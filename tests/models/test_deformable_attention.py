"""Deformable attention: its formula, and which code computes it."""

import math

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor

from projects.oneformer.models import DeformableAttention, deformable_attention
from projects.oneformer.models.deformable_attention import select_backend

WIDTH, HEADS, POINTS = 8, 2, 3
SIZES = ((2, 3), (4, 5))  # height, width per level
LENGTH = sum(h * w for h, w in SIZES)


@pytest.fixture
def attention() -> DeformableAttention:
    module = DeformableAttention(
        embed_dims=WIDTH,
        num_heads=HEADS,
        num_levels=len(SIZES),
        num_points=POINTS,
        dropout=0.0,
        batch_first=True,
    )
    for param in module.parameters():
        torch.nn.init.normal_(param, std=0.5)
    return module


def make_inputs(batch: int = 2) -> dict:
    sizes = torch.tensor(SIZES)
    x = torch.randn(batch, LENGTH, WIDTH)
    return dict(
        query=x,
        key=None,
        value=x,
        query_pos=torch.randn(batch, LENGTH, WIDTH),
        key_pos=None,
        key_padding_mask=torch.zeros(batch, LENGTH, dtype=torch.bool),
        reference_points=torch.rand(batch, LENGTH, len(SIZES), 2),
        spatial_shapes=sizes,
        level_start_index=torch.tensor([0, SIZES[0][0] * SIZES[0][1]]),
        valid_ratios=torch.ones(batch, len(SIZES), 2),
    )


def bilinear(level_map: Tensor, x: float, y: float) -> Tensor:
    """Value of (h, w, C) at a point given in pixels, 0 beyond the map."""
    height, width, channels = level_map.shape
    column, row = math.floor(x - 0.5), math.floor(y - 0.5)
    total = torch.zeros(channels)
    for i in (row, row + 1):
        for j in (column, column + 1):
            weight = (1 - abs(x - 0.5 - j)) * (1 - abs(y - 0.5 - i))
            if 0 <= i < height and 0 <= j < width:
                total += weight * level_map[i, j]
    return total


@torch.no_grad()
def test_each_query_sums_what_it_samples_around_its_reference(attention):
    inputs = make_inputs(batch=1)
    found = attention(**inputs)[0]
    x, position = inputs['query'][0], inputs['query_pos'][0]
    values = attention.value_proj(x).view(LENGTH, HEADS, -1)
    start = inputs['level_start_index'].tolist()
    for n in range(0, LENGTH, 4):
        asked = x[n] + position[n]
        offsets = attention.sampling_offsets(asked).view(
            HEADS, len(SIZES), POINTS, 2
        )
        weights = attention.attention_weights(asked).view(HEADS, -1)
        weights = weights.softmax(-1).view(HEADS, len(SIZES), POINTS)
        heads = []
        for head in range(HEADS):
            total = torch.zeros(WIDTH // HEADS)
            for level, (h, w) in enumerate(SIZES):
                tokens = values[start[level] : start[level] + h * w, head]
                reference = inputs['reference_points'][0, n, level]
                for point in range(POINTS):
                    dx, dy = offsets[head, level, point]
                    total += weights[head, level, point] * bilinear(
                        tokens.view(h, w, -1),
                        float(reference[0] * w + dx),
                        float(reference[1] * h + dy),
                    )
            heads.append(total)
        expected = x[n] + attention.output_proj(torch.cat(heads))
        torch.testing.assert_close(found[n], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_it_agrees_with_the_module_of_mmcv(attention):
    inputs = make_inputs()
    expected = MultiScaleDeformableAttention.forward(attention, **inputs)
    torch.testing.assert_close(attention(**inputs), expected)


def test_parameters_are_those_of_the_module_of_mmcv(attention):
    theirs = MultiScaleDeformableAttention(
        WIDTH, HEADS, num_levels=len(SIZES), num_points=POINTS
    )
    theirs.load_state_dict(attention.state_dict(), strict=True)


@pytest.mark.parametrize(
    'device, dtype, compiled, backend, reason',
    [
        ('cpu', torch.float32, True, 'pytorch', 'no cpu code'),
        ('cuda', torch.float32, False, 'pytorch', 'without compiled'),
        ('cuda', torch.float16, True, 'pytorch', 'float16'),
        ('cuda', torch.float32, True, 'mmcv', 'compiled op'),
    ],
)
def test_the_compiled_op_runs_where_it_can(
    monkeypatch, device, dtype, compiled, backend, reason
):
    monkeypatch.setattr(
        deformable_attention, 'has_compiled_ops', lambda: compiled
    )
    chosen, why = select_backend(device, dtype)
    assert chosen == backend
    assert reason in why


def test_the_choice_is_logged_once(attention, monkeypatch):
    messages = []
    monkeypatch.setattr(
        deformable_attention,
        'print_log',
        lambda message, **_: messages.append(message),
    )
    monkeypatch.setattr(deformable_attention, '_announced', set())
    for _ in range(3):
        attention(**make_inputs())
    assert len(messages) == 1
    assert 'pytorch' in messages[0]
