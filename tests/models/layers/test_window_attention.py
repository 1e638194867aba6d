"""The lean window attention computes what mmdet's computes."""

import copy

import pytest
import torch
from mmdet.models.backbones.swin import SwinTransformer, WindowMSA

from projects.oneformer.models.layers import window_attention
from projects.oneformer.models.layers.window_attention import (
    WindowAttention,
    use_lean_window_attention,
)
from tests.kept_bytes import bytes_kept

WINDOWS, HEADS, CHANNELS = 3, 2, 8


def make_pair(**options) -> tuple[WindowMSA, WindowAttention]:
    """Return mmdet's and the lean one with the same weights, in float64."""
    plain = WindowMSA(CHANNELS, HEADS, (2, 3), **options).double()
    torch.nn.init.normal_(plain.relative_position_bias_table)
    lean = copy.deepcopy(plain)
    use_lean_window_attention(lean)
    return plain, lean


def tokens(dtype=torch.float64) -> torch.Tensor:
    """Two pictures of three windows."""
    return torch.randn(2 * WINDOWS, 6, CHANNELS, dtype=dtype)


def shift_mask() -> torch.Tensor:
    mask = torch.zeros(WINDOWS, 6, 6, dtype=torch.float64)
    mask[0, :2, 2:] = mask[0, 2:, :2] = -100
    mask[2, ::2, 1::2] = mask[2, 1::2, ::2] = -100
    return mask


def values_and_gradients(module, x, mask) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = module(x, mask)
    grads = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    return [y, *grads]


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('qkv_bias', [False, True])
@pytest.mark.parametrize('windows_at_once', [1, 2, 4, 6])
def test_values_and_gradients_are_those_of_mmdet(
    monkeypatch, masked, qkv_bias, windows_at_once
):
    size = HEADS * 6 * 6 * 8  # bytes of the weights of a window
    monkeypatch.setattr(window_attention, 'PART_BYTES', windows_at_once * size)
    plain, lean = make_pair(qkv_bias=qkv_bias)
    mask = shift_mask() if masked else None
    x = tokens()
    for a, b in zip(
        values_and_gradients(lean, x, mask),
        values_and_gradients(plain, x, mask),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_windows_of_a_view_are_read_and_their_gradient_written():
    plain, lean = make_pair()
    x = torch.randn(6, 6, 2 * CHANNELS, dtype=torch.float64)[..., ::2]
    for a, b in zip(
        values_and_gradients(lean, x, None),
        values_and_gradients(plain, x, None),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_blocked_weights_are_zero_rather_than_denormal(monkeypatch):
    # exp(-100) is a denormal number in float32, which is slow to add up.
    seen = []
    weights_of = window_attention._weights

    def spy(*args):
        seen.append(weights_of(*args))
        return seen[-1]

    monkeypatch.setattr(window_attention, '_weights', spy)
    _, lean = make_pair()
    lean.float()(tokens(torch.float32), shift_mask().float())
    weights = torch.cat(seen)
    tiny = torch.finfo(torch.float32).tiny
    assert ((weights == 0) | (weights >= tiny)).all()
    assert (weights == 0).sum() == 2 * HEADS * (2 * 2 * 4 + 18)


def test_dropout_and_autocast_are_left_to_mmdet(monkeypatch):
    monkeypatch.setattr(window_attention, '_WindowAttention', None)
    _, lean = make_pair(attn_drop_rate=0.1)
    lean(tokens())
    _, lean = make_pair()
    with torch.autocast('cpu', torch.bfloat16):
        lean.float()(tokens(torch.float32))


def test_a_whole_swin_is_the_same_and_keeps_less():
    torch.manual_seed(0)
    plain = SwinTransformer(
        embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8),
        window_size=4,
    )  # fmt: skip
    lean = copy.deepcopy(plain)
    use_lean_window_attention(lean)
    names = list(plain.state_dict())
    assert list(lean.state_dict()) == names
    picture = torch.randn(1, 3, 72, 88)

    def run(model) -> tuple[list, int]:
        maps = []
        torch.manual_seed(1)  # of the stochastic depth
        kept = bytes_kept(lambda: maps.extend(model(picture)), model)
        loss = sum(m.square().mean() for m in maps)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        return [*maps, *grads], kept

    found, kept = run(lean)
    expected, kept_by_mmdet = run(plain)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert kept < 0.8 * kept_by_mmdet
