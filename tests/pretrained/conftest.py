"""A tiny model, with weights, that all tests of its folders share."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from projects.oneformer.inferencer import OneFormerInferencer
from tests.model_configs import METAINFO, build_model, tiny_model

PIPELINE = [
    dict(
        type='LoadImageFromFile',
        _scope_='projects.oneformer',
        backend_args=None,
    ),
    dict(type='Resize', scale=(96, 64), keep_ratio=True, backend='pillow'),
    dict(type='LoadSegments'),
    dict(type='EvalTargets'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'),
    ),
]
COLORS = [[20 * i, 255 - i, i] for i in range(len(METAINFO['classes']))]


def tiny_config() -> Config:
    """Return a config as training has it, with all that folders keep."""
    model = tiny_model(training=True, object_mask_thr=0.0)
    model.metainfo = dict(
        METAINFO, palette=COLORS, category_ids=[7, 1, 90, 3, 4, 5]
    )
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint='none.pth')
    return Config(
        dict(
            model=model,
            test_dataloader=dict(dataset=dict(pipeline=PIPELINE)),
            default_scope='mmdet',
        )
    )


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """Return a checkpoint as training writes it."""
    path = tmp_path_factory.mktemp('weights') / 'iter_1.pth'
    config = tiny_config()
    config.model.backbone.init_cfg = None
    model = build_model(config.model, seed=3)
    meta = dict(
        dataset_meta=dict(classes=METAINFO['classes']),
        tasks=('panoptic', 'semantic'),
    )
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='session')
def inferencer(checkpoint):
    return OneFormerInferencer(tiny_config(), checkpoint, device='cpu')


@pytest.fixture(scope='session')
def image():
    return np.random.default_rng(0).integers(
        0, 256, (40, 52, 3), dtype=np.uint8
    )


@pytest.fixture(scope='session')
def folder(inferencer, tmp_path_factory):
    """Return a folder of this package."""
    path = tmp_path_factory.mktemp('folders') / 'tiny'
    inferencer.save_pretrained(path)
    return path
