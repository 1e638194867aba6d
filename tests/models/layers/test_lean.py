"""Lean layers give the results of the plain ones and save less."""

import copy

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.backbones.swin import SwinTransformer, WindowMSA
from torch import nn

from projects.oneformer.models.layers import lean
from projects.oneformer.models.layers.dropout import Dropout
from projects.oneformer.models.layers.lean import (
    FeedForwardLayers,
    WindowAttention,
    use_lean_layers,
)
from tests.kept_bytes import bytes_held
from tests.model_configs import build_model, tiny_model

TOKENS, CHANNELS, HIDDEN = 10, 8, 24
WINDOWS, HEADS = 3, 2
# What checkpointing saves to draw the same numbers once more, in bytes.
RANDOM_STATE = torch.get_rng_state().numel()
ACTIVATIONS = (
    dict(type='ReLU', inplace=True),
    dict(type='ReLU'),
    dict(type='GELU'),
)


def feed_forward_pair(act_cfg: dict, **options) -> tuple[FFN, FFN]:
    """Return the plain network and the lean one, of equal float64 weights."""
    plain = FFN(CHANNELS, HIDDEN, act_cfg=act_cfg, **options).double()
    return plain, lean_copy(plain)


def window_pair(**options) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return the plain window attention and the lean one, in a parent."""
    plain = WindowMSA(CHANNELS, HEADS, (2, 3), **options).double()
    nn.init.normal_(plain.relative_position_bias_table)
    plain = nn.ModuleList([plain])
    return plain, lean_copy(plain)


def lean_copy(plain: nn.Module) -> nn.Module:
    copied = copy.deepcopy(plain)
    use_lean_layers(copied)
    assert list(copied.state_dict()) == list(plain.state_dict())
    return copied


def values_and_gradients(module, x, *args) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = module(x, *args)
    grads = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    return [y, *grads]


def assert_all_close(found, expected, **tolerance) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


class DropEven(nn.Module):
    """Drops every second element, in place of a random choice."""

    p = 0.5

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()

    def forward(self, x):
        factor = torch.arange(x.numel(), dtype=x.dtype).view_as(x) % 2 * 2
        return x * factor


@pytest.mark.parametrize('act_cfg', ACTIVATIONS, ids=str)
@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_feed_forward_networks_give_what_mmcv_gives(
    monkeypatch, act_cfg, dropout
):
    if dropout:
        monkeypatch.setattr(lean, 'Dropout', DropEven)
    plain, ours = feed_forward_pair(act_cfg, ffn_drop=dropout)
    if dropout:
        plain.layers[0][2], plain.layers[2] = DropEven(), DropEven()
    x = torch.randn(2, 5, CHANNELS, dtype=torch.float64)
    assert_all_close(
        values_and_gradients(ours, x), values_and_gradients(plain, x)
    )
    other = torch.randn_like(x)
    torch.testing.assert_close(ours(x, other), plain(x, other))


def test_what_dropout_drops_has_no_gradient():
    # Gradients use the same random choice as the result: of ones through
    # identities, both hold 0 or 4 (dropped twice at a rate of a half).
    _, ours = feed_forward_pair(
        dict(type='ReLU'), ffn_drop=0.5, add_identity=False
    )
    wide = FFN(HIDDEN, HIDDEN, ffn_drop=0.5, add_identity=False).double()
    for linear in (wide.layers[0][0], wide.layers[1]):
        linear.weight.data.copy_(torch.eye(HIDDEN))
        linear.bias.data.zero_()
    use_lean_layers(wide)
    x = torch.ones(50, HIDDEN, dtype=torch.float64, requires_grad=True)
    y = wide(x)
    y.sum().backward()
    assert sorted(y.unique().tolist()) == [0, 4]
    assert x.grad.equal(y.detach())


def test_only_networks_that_save_more_than_needed_are_replaced():
    model = nn.ModuleList(
        [
            FFN(8, 24, ffn_drop=0.1),
            FFN(8, 24, act_cfg=dict(type='GELU')),
            FFN(8, 24),  # ReLU in place
            FFN(8, 24, num_fcs=3, ffn_drop=0.1),
        ]
    )
    names = list(model.state_dict())
    use_lean_layers(model)
    assert [type(ffn.layers) is FeedForwardLayers for ffn in model] == [
        True,
        True,
        False,
        False,
    ]
    assert type(model[0].layers[0][2]) is Dropout
    assert type(model[0].layers[2]) is Dropout
    assert {type(ffn) for ffn in model} == {FFN}
    assert list(model.state_dict()) == names


@pytest.mark.parametrize('act_cfg', ACTIVATIONS, ids=str)
def test_one_wide_activation_is_saved(act_cfg):
    plain, ours = feed_forward_pair(act_cfg, ffn_drop=0.5)
    x = torch.randn(TOKENS, CHANNELS, dtype=torch.float64)
    result, wide = TOKENS * CHANNELS * 8, TOKENS * HIDDEN * 8  # bytes
    found = bytes_held(lambda: ours(x)) - RANDOM_STATE
    assert result + wide <= found < result + 1.5 * wide
    assert bytes_held(lambda: plain(x)) > result + 2 * wide


def test_autocast_holds_in_what_is_recomputed():
    plain, ours = feed_forward_pair(dict(type='GELU'))
    plain, ours = plain.float(), ours.float()
    x = torch.randn(4, CHANNELS)
    with torch.autocast('cpu', torch.bfloat16):
        results = [values_and_gradients(ffn, x) for ffn in (ours, plain)]
    # The same operators on the same shapes.
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert found.equal(expected)


def shift_mask() -> torch.Tensor:
    mask = torch.zeros(WINDOWS, 6, 6, dtype=torch.float64)
    mask[0, :2, 2:] = mask[0, 2:, :2] = -100
    mask[2, ::2, 1::2] = mask[2, 1::2, ::2] = -100
    return mask


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(
    'options', [{}, dict(qkv_bias=False), dict(qk_scale=0.3)], ids=str
)
def test_windows_give_what_mmdet_gives(masked, options):
    (plain,), (ours,) = window_pair(**options)
    assert type(ours) is WindowAttention
    mask = shift_mask() if masked else None
    x = torch.randn(2 * WINDOWS, 6, CHANNELS, dtype=torch.float64)
    assert_all_close(
        values_and_gradients(ours, x, mask),
        values_and_gradients(plain, x, mask),
    )


def test_blocked_weights_are_zero_rather_than_denormal():
    # exp(-100) is a denormal number in float32.
    _, (ours,) = window_pair()
    ours.float()
    weights = []
    ours.softmax.register_forward_hook(lambda *args: weights.append(args[-1]))
    ours(torch.randn(2 * WINDOWS, 6, CHANNELS), shift_mask().float())
    tiny = torch.finfo(torch.float32).tiny
    (weights,) = weights
    assert ((weights == 0) | (weights >= tiny)).all()
    assert (weights == 0).sum() == 2 * HEADS * (2 * 2 * 4 + 18)


def test_windows_save_their_input_only():
    _, ours = window_pair()
    x = torch.randn(2 * WINDOWS, 6, CHANNELS, dtype=torch.float64)
    # Beside the input, which was there, nothing but the result is held.
    found = bytes_held(lambda: ours[0](x)) - RANDOM_STATE
    assert found < 1.2 * x.numel() * 8


def test_the_rates_of_dropout_and_the_initial_weights_are_those_of_mmdet():
    (plain,), (ours,) = window_pair(attn_drop_rate=0.1, proj_drop_rate=0.2)
    assert ours.attn_drop.p == 0.1 and ours.proj_drop.p == 0.2
    assert ours.scale == plain.scale
    ours.init_weights()
    table = ours.relative_position_bias_table
    assert 0 < table.abs().max() < 0.2  # was normal, now truncated at 0.02


def test_a_whole_swin_is_the_same_and_saves_less():
    torch.manual_seed(0)
    plain = SwinTransformer(
        embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8),
        window_size=4,
    )  # fmt: skip
    ours = lean_copy(plain)
    image = torch.randn(1, 3, 72, 88)

    def run(model) -> tuple[list, int]:
        maps = []
        torch.manual_seed(1)  # of the stochastic depth
        kept = bytes_held(lambda: maps.extend(model(image)))
        loss = sum(m.square().mean() for m in maps)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        return [*maps, *grads], kept

    found, kept = run(ours)
    expected, kept_by_mmdet = run(plain)
    # exp(-100) is not exactly 0.
    assert_all_close(found, expected, rtol=1e-4, atol=1e-5)
    assert kept < 0.7 * kept_by_mmdet


def test_an_option_of_the_detector_builds_them_under_the_same_names():
    config = tiny_model(dropout=0.1)
    ours, plain = (
        build_model(dict(config, **options))
        for options in ({}, dict(lean=False))
    )
    assert count_lean(plain) == 0
    # 8 blocks of Swin with two parts each, 2 layers of the pixel decoder and
    # 2 of the query initialisation.
    assert count_lean(ours) == 8 + 8 + 2 + 2
    states = ours.state_dict(), plain.state_dict()
    assert list(states[0]) == list(states[1])
    # Building them draws no random number.
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    plain.load_state_dict(states[0], strict=True)


def count_lean(model: nn.Module) -> int:
    kinds = FeedForwardLayers | WindowAttention
    return sum(isinstance(part, kinds) for part in model.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('act_cfg', ACTIVATIONS, ids=str)
def test_a_gpu_computes_what_a_cpu_does(act_cfg):
    plain, ours = feed_forward_pair(act_cfg)
    x = torch.randn(2, 5, CHANNELS, dtype=torch.float64)
    expected = values_and_gradients(plain, x)
    found = values_and_gradients(ours.cuda(), x.cuda())
    assert_all_close([t.cpu() for t in found], expected)
