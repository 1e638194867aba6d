"""DiNAT against its description, and the options of the class."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.models import DiNAT
from tests.model_configs import randomise
from tests.models.backbones import neighborhoods

DILATIONS = ((1, 4), (1, 2, 1), (2,), (1,))
HEADS = (1, 2, 2, 4)


def build(**options) -> DiNAT:
    """Build a small DiNAT whose weights all matter."""
    settings = dict(
        embed_dims=8,
        depths=(2, 3, 1, 1),
        num_heads=HEADS,
        kernel_size=3,
        dilations=DILATIONS,
        mlp_ratio=2.0,
    )
    backbone = DiNAT(**{**settings, **options})
    randomise(backbone)
    return backbone


class Reference:
    """DiNAT in plain functions of a state dict, block by block."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (
            self.weights[f'{name}.{w}'] for w in ('weight', 'bias')
        )
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + 1e-5).sqrt() * weight + bias

    def linear(self, x: Tensor, name: str) -> Tensor:
        return (
            x @ self.weights[f'{name}.weight'].T + self.weights[f'{name}.bias']
        )

    def halve(self, x: Tensor, name: str) -> Tensor:
        """Convolve (B, H, W, C) with stride 2."""
        x = F.conv2d(
            x.permute(0, 3, 1, 2),
            self.weights[f'{name}.weight'],
            self.weights.get(f'{name}.bias'),
            stride=2,
            padding=1,
        )
        return x.permute(0, 2, 3, 1)

    def attention(self, x: Tensor, name: str, dilation: int) -> Tensor:
        bias = self.weights[f'{name}.rpb']
        kernel_size = (bias.shape[-1] + 1) // 2
        height, width = x.shape[1:3]
        missing = [
            max(kernel_size * dilation - side, 0) for side in (width, height)
        ]
        x = F.pad(x, (0, 0, 0, missing[0], 0, missing[1]))
        qkv = self.linear(x, f'{name}.qkv').chunk(3, dim=-1)
        heads = [tensor.unflatten(-1, (len(bias), -1)) for tensor in qkv]
        out = neighborhoods.attend(*heads, bias, kernel_size, dilation)
        out = out.flatten(-2)[:, :height, :width]
        return self.linear(out, f'{name}.proj')

    def block(self, x: Tensor, name: str, dilation: int) -> Tensor:
        normed = self.norm(x, f'{name}.norm1')
        x = x + self.attention(normed, f'{name}.attn', dilation)
        hidden = self.linear(self.norm(x, f'{name}.norm2'), f'{name}.mlp.fc1')
        hidden = hidden * (1 + torch.erf(hidden * 0.5**0.5)) / 2  # GELU
        return x + self.linear(hidden, f'{name}.mlp.fc2')

    def __call__(self, images: Tensor) -> list[Tensor]:
        x = images.permute(0, 2, 3, 1)
        for i in range(2):
            x = self.halve(x, f'patch_embed.proj.{i}')
        x = self.norm(x, 'patch_embed.norm')
        outs = []
        for i, dilations in enumerate(DILATIONS):
            for j, dilation in enumerate(dilations):
                x = self.block(x, f'levels.{i}.blocks.{j}', dilation)
            outs.append(self.norm(x, f'norm{i}').permute(0, 3, 1, 2))
            if i < 3:
                x = self.halve(x, f'levels.{i}.downsample.reduction')
                x = self.norm(x, f'levels.{i}.downsample.norm')
        return outs


# Even sides, odd ones, and a map of one pixel on every level.
@pytest.mark.parametrize('size', [(64, 96), (75, 50), (4, 4)])
def test_features_and_gradients_are_those_of_the_description(size):
    backbone = build().double()
    weights = {
        name: param.detach().clone().requires_grad_()
        for name, param in backbone.named_parameters()
    }
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    found, expected = backbone(images), Reference(weights)(images)
    torch.testing.assert_close(found, tuple(expected))
    directions = [torch.randn_like(feature) for feature in found]
    torch.autograd.backward(found, directions)
    torch.autograd.backward(expected, directions)
    for name, param in backbone.named_parameters():
        torch.testing.assert_close(param.grad, weights[name].grad)


@pytest.mark.parametrize(
    ('size', 'sides'),
    [
        ((64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]),
        ((75, 50), [(19, 13), (10, 7), (5, 4), (3, 2)]),
    ],
)
@torch.no_grad()
def test_strides_are_4_to_32_rounded_up_and_channels_double(size, sides):
    features = build()(torch.rand(1, 3, *size))
    assert [tuple(feature.shape) for feature in features] == [
        (1, 8 * 2**i, *side) for i, side in enumerate(sides)
    ]
    assert all(feature.is_contiguous() for feature in features)


@torch.no_grad()
def test_only_levels_of_out_indices_are_returned_and_have_a_norm():
    backbone = build(out_indices=(1, 3))
    features = backbone(torch.rand(1, 3, 32, 32))
    assert [feature.shape[1] for feature in features] == [16, 64]
    names = [name for name, _ in backbone.named_children()]
    assert names == ['patch_embed', 'levels', 'norm1', 'norm3']


def test_parameters_have_the_names_of_the_published_weights():
    names = set(build().state_dict())
    block = {
        f'levels.1.blocks.2.{name}'
        for name in (
            'norm1.weight',
            'norm1.bias',
            'attn.rpb',
            'attn.qkv.weight',
            'attn.qkv.bias',
            'attn.proj.weight',
            'attn.proj.bias',
            'norm2.weight',
            'norm2.bias',
            'mlp.fc1.weight',
            'mlp.fc1.bias',
            'mlp.fc2.weight',
            'mlp.fc2.bias',
        )
    }
    assert {name for name in names if 'levels.1.blocks.2.' in name} == block
    assert {name for name in names if not name.startswith('levels.')} == {
        'patch_embed.proj.0.weight',
        'patch_embed.proj.0.bias',
        'patch_embed.proj.1.weight',
        'patch_embed.proj.1.bias',
        'patch_embed.norm.weight',
        'patch_embed.norm.bias',
        *(f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')),
    }
    assert {name for name in names if 'downsample' in name} == {
        f'levels.{i}.downsample.{name}'
        for i in range(3)
        for name in ('reduction.weight', 'norm.weight', 'norm.bias')
    }


def test_the_rate_of_drop_path_grows_linearly_over_all_blocks():
    backbone = build(drop_path_rate=0.3)
    rates = [
        module.drop_prob
        for module in backbone.modules()
        if isinstance(module, DropPath)
    ]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_drop_path_leaves_out_whole_images_in_training_only():
    block = build(drop_path_rate=0.9).levels[3].blocks[0]
    x = torch.randn(64, 3, 3, 64)
    with torch.no_grad():
        kept = (block(x) != x).flatten(1)
        dropped = (block.eval()(x) == x).flatten(1)
    # Of the two branches of an image, both are dropped by 0.81.
    assert 3 <= kept.any(1).sum() <= 26
    assert not dropped.all(1).any()


@pytest.mark.parametrize(
    ('stages', 'frozen'),
    [
        (-1, ()),
        (0, ('patch_embed.',)),
        (2, ('patch_embed.', 'levels.0.', 'levels.1.', 'norm0.', 'norm1.')),
    ],
)
def test_frozen_stages_neither_learn_nor_drop_paths(stages, frozen):
    backbone = build(frozen_stages=stages, drop_path_rate=0.5)
    assert backbone.train() is backbone
    for name, param in backbone.named_parameters():
        assert param.requires_grad is not name.startswith(frozen), name
    for name, module in backbone.named_modules():
        if isinstance(module, DropPath):
            assert module.training is not name.startswith(frozen), name


def test_train_returns_the_backbone_and_can_be_undone():
    backbone = build()
    assert backbone.train(False) is backbone
    assert not any(module.training for module in backbone.modules())


def test_checkpointing_changes_neither_features_nor_gradients():
    plain = build(drop_path_rate=0.4)
    thrifty = build(drop_path_rate=0.4, with_cp=True)
    thrifty.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 48)
    results = []
    for backbone in (plain, thrifty):
        torch.manual_seed(1)  # for the paths that are dropped
        features = backbone.train()(images)
        sum(feature.square().mean() for feature in features).backward()
        grads = [param.grad for param in backbone.parameters()]
        results.append((*features, *grads))
    torch.testing.assert_close(*results)


def test_checkpointing_keeps_less_for_the_backward_pass():
    images = torch.rand(1, 3, 32, 32)
    kept = []
    for with_cp in (False, True):
        backbone = build(with_cp=with_cp)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            backbone(images)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_initial_weights_are_small_and_biases_zero():
    fresh = DiNAT(
        embed_dims=8,
        depths=(1, 1),
        num_heads=(1, 2),
        kernel_size=7,
        dilations=((1,), (2,)),
        mlp_ratio=2.0,
        out_indices=(0, 1),
    )
    fresh.init_weights()
    attention = fresh.levels[0].blocks[0].attn
    assert 0.01 < attention.qkv.weight.std() < 0.03
    assert 0.01 < attention.rpb.std() < 0.03
    assert (attention.qkv.bias == 0).all()


def test_half_precision_of_autocast_comes_close():
    backbone = build().eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact = backbone(images)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = backbone(images)
    for ours, theirs in zip(rough, exact, strict=True):
        assert (ours - theirs).abs().mean() < 0.05 * theirs.abs().mean()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(depths=(2, 3, 2, 1)), r'\[2, 3, 2, 1\] blocks.*\[2, 3, 1, 1\]'),
        (dict(num_heads=(1, 2, 2)), 'num_heads of 4 levels'),
        (dict(num_heads=(3, 2, 2, 4)), '3 for 8 channels of level 0'),
        (dict(kernel_size=4), 'odd kernel_size, got 4'),
        (dict(out_indices=(0, 4)), r'between 0 and 3, got \(0, 4\)'),
        (dict(frozen_stages=5), 'between -1 and 4, got 5'),
        (dict(backend='cuda'), "no backend 'cuda'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
