"""The backbones of the configs: their sizes, and what they are made of."""

import functools
from pathlib import Path

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

from tests.model_configs import METAINFO, NUM_POINTS, data_sample

CONFIGS = Path(__file__).parents[3] / 'configs'
BRICKS = CONFIGS / '_base_' / 'models'


@pytest.fixture
def on_meta(monkeypatch):
    """Return what builds a backbone in full size without its memory."""
    register_all_modules()
    # mmdet and mmpretrain read the rates of drop path from a tensor.
    linspace = functools.partial(torch.linspace, device='cpu')
    monkeypatch.setattr(torch, 'linspace', linspace)

    def build(brick: str, **options) -> nn.Module:
        config = Config.fromfile(BRICKS / f'oneformer_{brick}.py').model
        with torch.device('meta'):
            return MODELS.build(dict(config.backbone, **options))

    return build


@pytest.mark.parametrize(
    ('brick', 'options', 'millions'),
    [
        ('swin-t', {}, 27.521),
        ('swin-l', {}, 195.201),
        ('convnext-l', {}, 196.233),
        ('convnext-xl', {}, 348.152),
        ('dinat-l', {}, 199.610),
        ('dinat-l', dict(kernel_size=7), 199.409),
    ],
)
def test_backbones_have_as_many_parameters_as_published(
    on_meta, brick, options, millions
):
    backbone = on_meta(brick, **options)
    count = sum(param.numel() for param in backbone.parameters())
    assert round(count / 1e6, 3) == millions


@pytest.mark.parametrize(
    ('brick', 'blocks', 'highest'),
    [
        ('swin-t', 12, 0.3),
        ('swin-l', 24, 0.3),
        ('convnext-l', 36, 0.4),
        ('convnext-xl', 36, 0.4),
        ('dinat-l', 30, 0.3),
    ],
)
def test_the_rate_of_drop_path_grows_linearly_over_the_blocks(
    on_meta, brick, blocks, highest
):
    rates = {
        module.drop_prob
        for module in on_meta(brick).modules()
        if isinstance(module, DropPath)
    }
    expected = [highest * i / (blocks - 1) for i in range(blocks)]
    # ConvNeXt of mmpretrain leaves out the module of rate 0.
    assert sorted(rates | {0.0}) == pytest.approx(expected)


@pytest.mark.parametrize('brick', ['convnext-l', 'convnext-xl'])
def test_convnext_is_that_of_the_reference(on_meta, brick):
    backbone = on_meta(brick)
    modules = dict(backbone.named_modules())
    norms = [m for m in modules.values() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 36 + 4 + 4
    assert {norm.eps for norm in norms} == {1e-6}
    assert {f'norm{i}' for i in range(4)} <= modules.keys()
    gelus = [m for m in modules.values() if isinstance(m, nn.GELU)]
    assert {gelu.approximate for gelu in gelus} == {'none'}
    assert len(gelus) == 36


def test_convnext_scales_its_layers_by_1_at_first():
    register_all_modules()
    config = Config.fromfile(BRICKS / 'oneformer_convnext-l.py').model
    arch = dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    backbone = MODELS.build(dict(config.backbone, arch=arch, init_cfg=None))
    gammas = [
        param for name, param in backbone.named_parameters() if 'gamma' in name
    ]
    assert len(gammas) == 4
    assert all((gamma == 1).all() for gamma in gammas)


@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
@pytest.mark.parametrize(
    'options', [dict(with_cp=True), dict(frozen_stages=2)]
)
def test_convnext_of_the_brick_knows_the_options_of_mmpretrain(options):
    register_all_modules()
    config = Config.fromfile(BRICKS / 'oneformer_convnext-l.py').model
    arch = dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    settings = dict(arch=arch, init_cfg=None, drop_path_rate=0.0)
    torch.manual_seed(0)
    plain = MODELS.build(dict(config.backbone, **settings))
    other = MODELS.build(dict(config.backbone, **settings, **options))
    other.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 64, 96)
    features, others = plain(images), other(images)
    torch.testing.assert_close(features, others)
    grads = []
    for backbone, outs in ((plain, features), (other, others)):
        sum(out.square().mean() for out in outs).backward()
        grads.append({n: p.grad for n, p in backbone.named_parameters()})
    frozen = 'downsample_layers.0', 'downsample_layers.1', 'stages.0.'
    frozen = (*frozen, 'stages.1.') if 'frozen_stages' in options else ()
    for name, grad in grads[0].items():
        if frozen and name.startswith(frozen):
            assert grads[1][name] is None
        else:
            torch.testing.assert_close(grads[1][name], grad)


# What makes the backbone of a config thin.
THIN = {
    '_base_/models/oneformer_convnext-l.py': dict(
        arch=dict(depths=[1, 1, 1, 1], channels=[16, 32, 64, 128])
    ),
    '_base_/models/oneformer_dinat-l.py': dict(
        embed_dims=16, num_heads=(1, 2, 2, 4)
    ),
    'oneformer_pvtv2-b2_coco.py': dict(embed_dims=16, num_layers=[1] * 4),
    'oneformer_vit-b_coco.py': dict(
        arch=dict(
            embed_dims=64,
            num_layers=12,
            num_heads=2,
            feedforward_channels=64,
        )
    ),
}
CHANNELS = {
    'oneformer_pvtv2-b2_coco.py': [16, 32, 80, 128],
    'oneformer_vit-b_coco.py': [64, 64, 64, 64],
}


def thin_model(path: str) -> nn.Module:
    """Build the model of a config with everything as it connects it."""
    register_all_modules()
    model = Config.fromfile(CONFIGS / path).model
    model.backbone.update(THIN[path], init_cfg=None)
    channels = CHANNELS.get(path, [16, 32, 64, 128])
    if 'neck' in model:
        model.neck.embed_dim = channels[0]
    head, training = model.panoptic_head, model.train_cfg
    head.in_channels = channels
    head.num_queries = 20
    head.transformer_decoder.num_layers = 1
    training.criterion.matcher.num_points = NUM_POINTS
    training.criterion.num_points = NUM_POINTS
    training.text_mapper.num_layers = 1
    model.metainfo = METAINFO
    return MODELS.build(model)


@pytest.mark.filterwarnings('ignore:torch.meshgrid')
@pytest.mark.parametrize('path', THIN)
def test_a_thin_model_of_the_config_learns_and_predicts(path):
    model = thin_model(path)
    images = torch.randn(2, 3, 64, 96)
    samples = [
        data_sample(64, 96, [0, 2], 'panoptic'),
        data_sample(64, 96, [1], 'semantic'),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    sum(model.loss(images, samples).values()).backward()
    for name, param in model.named_parameters():
        if name.startswith(('backbone.', 'neck.')):
            assert param.grad is not None and param.grad.isfinite().all(), name
    optimizer.step()
    model.eval()
    with torch.no_grad():
        (found,) = model.predict(images[:1], [data_sample(64, 96)])
    assert found.pred_panoptic_seg.sem_seg.shape[-2:] == (64, 96)
