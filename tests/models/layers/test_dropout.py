"""Dropout on a CPU draws as it should and keeps a byte per element."""

import pytest
import torch
from torch import nn

from projects.oneformer.models.layers import dropout
from projects.oneformer.models.layers.dropout import Dropout, draw_kept
from tests.kept_bytes import bytes_kept


def test_each_element_is_dropped_independently_at_the_rate():
    kept, share = draw_kept((1000, 1001), 0.1)
    assert kept.shape == (1000, 1001)
    assert kept.unique().tolist() == [0, 1]
    assert share == 1 - 6554 / 65536
    # A million draws: the mean within five standard deviations.
    assert abs(kept.double().mean() - share) < 5 * (0.09 / 1e6) ** 0.5
    # Neighbours that share a random number are not alike.
    flat = kept.flatten().bool()
    for step in (1, 2, 3, 4):
        both = flat[:-step] & flat[step:]
        assert abs(both.double().mean() - share**2) < 2e-3


def test_the_draws_follow_the_seed():
    torch.manual_seed(3)
    first = draw_kept((50,), 0.5)[0]
    second = draw_kept((50,), 0.5)[0]
    torch.manual_seed(3)
    assert draw_kept((50,), 0.5)[0].equal(first)
    assert not second.equal(first)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_what_is_kept_is_scaled_and_so_is_its_gradient(monkeypatch, dtype):
    kept = torch.tensor([[1, 0, 1], [0, 1, 1]], dtype=torch.uint8)
    monkeypatch.setattr(dropout, 'draw_kept', lambda *_: (kept, 0.5))
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=dtype)
    x.requires_grad_()
    y = Dropout(0.5)(x)
    assert y.tolist() == [[2, 0, 6], [0, 10, 12]] and y.dtype == dtype
    y.backward(torch.tensor([[1.0, 1, 2], [1, 2, 3]], dtype=dtype))
    assert x.grad.tolist() == [[2, 0, 4], [0, 4, 6]]


def test_a_value_that_is_not_a_number_is_not_hidden():
    x = torch.full((64,), torch.nan)
    assert Dropout(0.5)(x).isnan().all()


def test_evaluation_and_a_rate_of_zero_change_nothing():
    x = torch.randn(5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x).equal(x)


def test_a_byte_per_element_is_kept():
    x = torch.randn(100, requires_grad=True)
    assert bytes_kept(lambda: Dropout(0.1)(x)) == 100
    assert bytes_kept(lambda: nn.Dropout(0.1)(x)) > 100


def test_a_rate_of_one_drops_all():
    assert Dropout(1.0)(torch.randn(5)).tolist() == [0] * 5
