"""The pixel decoder: float32 whatever the autocast."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine import ConfigDict
from torch import Tensor

from projects.oneformer.models import (
    DeformableAttention,
    OneFormerPixelDecoder,
)
from tests.model_configs import WIDTH, randomise, tiny_model

CHANNELS = (16, 32, 64, 128)


@pytest.fixture
def pixel_decoder() -> OneFormerPixelDecoder:
    cfg = tiny_model().panoptic_head.pixel_decoder
    module = MODELS.build(
        ConfigDict(
            cfg,
            in_channels=CHANNELS,
            feat_channels=WIDTH,
            out_channels=WIDTH,
        )
    )
    randomise(module)
    return module.eval()


def make_feats(batch: int = 2, height: int = 64, width: int = 96) -> list:
    return [
        torch.randn(batch, channels, height // stride, width // stride)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def flattened(output: tuple[Tensor, list[Tensor]]) -> list[Tensor]:
    mask_features, memories = output
    return [mask_features, *memories]


@torch.no_grad()
def test_maps_come_from_coarse_to_fine(pixel_decoder):
    maps = flattened(pixel_decoder(make_feats()))
    assert [tuple(level.shape) for level in maps] == [
        (2, WIDTH, 16, 24),
        (2, WIDTH, 2, 3),
        (2, WIDTH, 4, 6),
        (2, WIDTH, 8, 12),
    ]


@torch.no_grad()
def test_autocast_changes_nothing(pixel_decoder):
    feats = make_feats()
    expected = flattened(pixel_decoder(feats))
    with torch.autocast('cpu', torch.bfloat16):
        maps = flattened(pixel_decoder(feats))
    for level, level_expected in zip(maps, expected, strict=True):
        assert level.dtype == torch.float32
        assert level.equal(level_expected)


@torch.no_grad()
def test_half_precision_features_are_decoded_in_float32(pixel_decoder):
    feats = [feat.bfloat16() for feat in make_feats()]
    expected = flattened(pixel_decoder([feat.float() for feat in feats]))
    with torch.autocast('cpu', torch.bfloat16):
        maps = flattened(pixel_decoder(feats))
    for level, level_expected in zip(maps, expected, strict=True):
        assert level.equal(level_expected)


def test_every_layer_has_our_attention_with_its_dropout():
    cfg = tiny_model(dropout=0.1).panoptic_head.pixel_decoder
    module = MODELS.build(ConfigDict(cfg, in_channels=CHANNELS))
    for layer in module.encoder.layers:
        assert type(layer.self_attn) is DeformableAttention
        assert layer.self_attn.dropout.p == 0.1


def test_all_parameters_learn_from_all_maps(pixel_decoder):
    maps = flattened(pixel_decoder(make_feats()))
    sum((level * torch.randn_like(level)).sum() for level in maps).backward()
    for name, param in pixel_decoder.named_parameters():
        assert param.grad.any(), name
