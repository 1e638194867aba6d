"""The lean feed-forward network computes what mmcv's computes."""

import copy

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN

from projects.oneformer.models.layers import feed_forward
from projects.oneformer.models.layers.dropout import Dropout, draw_kept
from projects.oneformer.models.layers.feed_forward import (
    FeedForward,
    use_lean_feed_forward,
)
from tests.kept_bytes import bytes_kept


def make_pair(act: str = 'ReLU', **options) -> tuple[FFN, FeedForward]:
    """Return mmcv's and the lean one with the same weights, in float64."""
    plain = FFN(8, 24, act_cfg=dict(type=act), **options).double()
    lean = copy.deepcopy(plain)
    use_lean_feed_forward(lean)
    return plain, lean


def assert_alike(module, other) -> None:
    """Compare values and gradients of the same input."""
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    results = []
    for each in (module, other):
        own = x.clone().requires_grad_()
        y = each(own)
        inputs = [own, *each.parameters()]
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('kept_bytes', [0, 2**24], ids=['again', 'kept'])
@pytest.mark.parametrize('part_bytes', [1, 24 * 8 * 4, 2**20])
@pytest.mark.parametrize('act', ['ReLU', 'GELU'])
def test_values_and_gradients_are_those_of_mmcv(
    monkeypatch, act, part_bytes, kept_bytes
):
    monkeypatch.setattr(feed_forward, 'PART_BYTES', part_bytes)
    monkeypatch.setattr(FeedForward, 'kept_bytes', kept_bytes)
    plain, lean = make_pair(act)
    assert_alike(lean, plain)


@pytest.mark.parametrize('kept_bytes', [0, 2**24], ids=['again', 'kept'])
@pytest.mark.parametrize('act', ['ReLU', 'GELU'])
def test_dropout_scales_what_it_keeps(monkeypatch, act, kept_bytes):
    monkeypatch.setattr(FeedForward, 'kept_bytes', kept_bytes)
    plain, lean = make_pair(act)
    kept, share = draw_kept((10, 24), 0.5)
    monkeypatch.setattr(feed_forward, 'draw_kept', lambda *_: (kept, share))
    lean.layers[0][2].p = 0.5

    class Drop(torch.nn.Module):
        def forward(self, x):
            return x * kept.view(2, 5, 24) / share

    plain.layers[0][2] = Drop()
    assert_alike(lean, plain)


def test_another_identity_layer_scale_and_no_identity():
    x, other = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    for options, args in (
        ({}, (other,)),
        (dict(layer_scale_init_value=0.3), ()),
        (dict(add_identity=False), ()),
    ):
        plain, lean = make_pair(**options)
        torch.testing.assert_close(lean(x, *args), plain(x, *args))


def test_evaluation_does_without_dropout():
    plain, lean = make_pair(ffn_drop=0.5)
    x = torch.randn(3, 8, dtype=torch.float64)
    torch.testing.assert_close(lean.eval()(x), plain.eval()(x))
    with torch.inference_mode():
        torch.testing.assert_close(lean(x), plain(x))


def test_autocast_computes_in_half_precision():
    plain, lean = (module.float() for module in make_pair('GELU'))
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        found = lean(x, torch.zeros(4, 8, dtype=torch.bfloat16))
        expected = plain(x, torch.zeros(4, 8, dtype=torch.bfloat16))
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    found.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert lean.layers[1].weight.grad.dtype == torch.float32


def test_half_precision_is_summed_over_all_tokens_at_once(monkeypatch):
    monkeypatch.setattr(feed_forward, 'PART_BYTES', 1)
    _, lean = make_pair()
    lean.bfloat16()
    x = torch.ones(600, 8, dtype=torch.bfloat16)
    (out_bias,) = torch.autograd.grad(lean(x).sum(), [lean.layers[1].bias])
    assert out_bias.tolist() == [600] * 8
    lean.layers[1].weight.data.fill_(1)
    lean.layers[0][0].bias.data.fill_(1)
    lean.layers[0][0].weight.data.zero_()
    # One after the other, ones add up to 256 in bfloat16 and no further.
    (weight,) = torch.autograd.grad(lean(x).sum(), [lean.layers[1].weight])
    assert weight.unique().tolist() == [600]


def test_no_token_gives_no_output_and_gradients_of_zero():
    _, lean = make_pair()
    x = torch.zeros(2, 0, 8, dtype=torch.float64, requires_grad=True)
    y = lean(x)
    assert y.shape == (2, 0, 8)
    y.sum().backward()
    assert lean.layers[1].weight.grad.abs().sum() == 0


def test_only_what_it_can_compute_is_replaced():
    model = torch.nn.ModuleList(
        [
            FFN(8, 24),
            FFN(8, 24, act_cfg=dict(type='GELU', approximate='tanh')),
            FFN(8, 24, act_cfg=dict(type='SiLU')),
            FFN(8, 24, num_fcs=3),
        ]
    )
    names = list(model.state_dict())
    use_lean_feed_forward(model)
    assert [type(part) for part in model] == [FeedForward, FFN, FFN, FFN]
    assert type(model[0].layers[2]) is Dropout
    assert list(model.state_dict()) == names


def test_less_is_kept_for_the_gradient():
    def saved(module) -> int:
        x = torch.randn(100, 8, dtype=torch.float64)
        return bytes_kept(lambda: module(x), module)

    plain, lean = make_pair('GELU')
    given, hidden = 100 * 8 * 8, 100 * 24 * 8  # bytes
    assert saved(plain) == given + 2 * hidden  # before and after GELU
    assert saved(lean) == given + hidden
    lean.kept_bytes = hidden - 1
    assert saved(lean) == given


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('act', ['ReLU', 'GELU'])
def test_a_gpu_computes_what_a_cpu_does(act):
    plain, lean = make_pair(act)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = torch.autograd.grad(
        plain(x).square().sum(), list(plain.parameters())
    )
    lean.cuda()
    found = torch.autograd.grad(
        lean(x.cuda()).square().sum(), list(lean.parameters())
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b)
