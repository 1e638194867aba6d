"""Small models of every backbone that is exported, and their configs."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from projects.oneformer.inferencer import OneFormerInferencer
from tests.model_configs import build_model, tiny_model

# What a DiNAT is exported for.
SIZE = (64, 96)
BACKBONES = dict(
    resnet=(
        dict(type='ResNet', depth=50, base_channels=8, stem_channels=8),
        [32, 64, 128, 256],
    ),
    # Two stages have shifted windows, which some images fill and others not;
    # the last is often smaller than a window.
    swin=(
        dict(
            type='SwinTransformer',
            embed_dims=16,
            depths=(1, 2, 1, 2),
            num_heads=(1, 2, 2, 4),
            window_size=7,
        ),
        [16, 32, 64, 128],
    ),
    convnext=(
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1] * 4, channels=[16, 32, 64, 128]),
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
        ),
        [16, 32, 64, 128],
    ),
    dinat=(
        dict(
            type='DiNAT',
            embed_dims=16,
            depths=(1, 2, 1, 1),
            num_heads=(1, 2, 2, 4),
            kernel_size=3,
            dilations=((1,), (1, 3), (2,), (1,)),
            mlp_ratio=2.0,
        ),
        [16, 32, 64, 128],
    ),
    efficientnet=(
        dict(
            type='mmpretrain.TIMMBackbone',
            model_name='tf_efficientnet_lite0',
            features_only=True,
            out_indices=(1, 2, 3, 4),
        ),
        [24, 40, 112, 320],
    ),
)


def small_config(backbone: str = 'swin', **test_cfg) -> Config:
    """Return the config of a model with few layers, and its test pipeline.

    Args:
        backbone (str): One of ``BACKBONES``.
        **test_cfg: Options of the test_cfg.
    """
    model = tiny_model(training=False, **test_cfg)
    part, channels = BACKBONES[backbone]
    model.backbone = ConfigDict(part)
    head = model.panoptic_head
    head.in_channels = channels
    head.pixel_decoder.encoder.num_layers = 1
    head.query_init.transformer.num_layers = 1
    head.transformer_decoder.num_layers = 3  # one for each level
    return with_pipeline(model)


def with_pipeline(model: ConfigDict) -> Config:
    """Return the config of a model and its test pipeline."""
    pipeline = [
        dict(type='LoadImageFromFile', _scope_='projects.oneformer'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True, backend='pillow'),
        dict(type='LoadSegments'),
        dict(type='EvalTargets'),
        dict(
            type='PackDetInputs',
            meta_keys=('img_path', 'ori_shape', 'img_shape'),
        ),
    ]
    return Config(
        dict(
            model=model,
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            default_scope='mmdet',
        )
    )


def write_weights(config: Config, path: Path, seed: int = 0) -> Path:
    """Write random weights of a model, with which every part matters."""
    model = build_model(config.model, seed)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def small_inferencer(
    config: Config, folder: Path, seed: int = 0
) -> OneFormerInferencer:
    """Return the model of a config with random weights, as users have it."""
    weights = write_weights(config, folder / 'weights.pth', seed)
    return OneFormerInferencer(config, weights, 'cpu')


def drawn_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return rectangles and noise, np.uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 80, (height, width, 3))
    for _ in range(6):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        h, w = rng.integers(8, height), rng.integers(8, width)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image.astype(np.uint8)
