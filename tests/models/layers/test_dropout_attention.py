"""Attention with dropout equals the plain formula, and keeps little."""

import pytest
import torch
from torch.nn import functional as F

from projects.oneformer.models.layers import attention, dropout_attention
from projects.oneformer.models.layers.attention import Attention
from projects.oneformer.models.layers.dropout import draw_kept
from tests.kept_bytes import bytes_kept

SHAPE = dict(batch=2, heads=3, queries=5, keys=7, width=4)


def inputs(dtype=torch.float64) -> list[torch.Tensor]:
    b, h, q, n, d = SHAPE.values()
    return [
        torch.randn(b, h, length, d, dtype=dtype, requires_grad=True)
        for length in (q, n, n)
    ]


def plain(query, key, value, kept, share):
    """The formula, weights and all."""
    weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
    return (weights * kept / share) @ value


@pytest.mark.parametrize('dropout', [0.1, 0.5])
def test_values_and_gradients_are_those_of_the_formula(monkeypatch, dropout):
    tensors = inputs()
    drawn = draw_kept((2, 3, 5, 7), dropout)
    monkeypatch.setattr(dropout_attention, 'draw_kept', lambda *_: drawn)
    found = dropout_attention.dropout_attention(*tensors, dropout)
    expected = plain(*tensors, *drawn)
    torch.testing.assert_close(found, expected)
    target = torch.randn_like(found)
    for a, b in zip(
        torch.autograd.grad(found, tensors, target),
        torch.autograd.grad(expected, tensors, target),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_without_dropout_it_is_attention():
    tensors = inputs()
    torch.testing.assert_close(
        dropout_attention.dropout_attention(*tensors, 0.0),
        F.scaled_dot_product_attention(*tensors),
    )


def layer_inputs() -> dict:
    return dict(
        query=torch.randn(2, 6, 32, requires_grad=True),
        key=torch.randn(1, 40, 32),
        value=torch.randn(1, 40, 32),
        query_pos=torch.randn(1, 6, 32),
        key_pos=torch.randn(2, 40, 32),
    )


def test_training_on_a_cpu_takes_it_and_keeps_less(monkeypatch):
    layer = Attention(embed_dims=32, num_heads=4, dropout=0.1)
    ours = bytes_kept(lambda: layer(**layer_inputs()))
    monkeypatch.setattr(
        attention,
        'dropout_attention',
        lambda q, k, v, p: F.scaled_dot_product_attention(
            q, k, v, dropout_p=p
        ),
    )
    plain = bytes_kept(lambda: layer(**layer_inputs()))
    # The weights are 2 x 4 x 6 x 40 floats, kept more than once.
    assert plain - ours > 2 * 4 * 6 * 40 * 4


def test_evaluation_does_without(monkeypatch):
    layer = Attention(embed_dims=32, num_heads=4, dropout=0.1).eval()
    monkeypatch.setattr(attention, 'dropout_attention', None)
    layer(**layer_inputs())
