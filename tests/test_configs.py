"""Every config under configs/ holds together and builds its model."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def config(path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    return config


def test_the_name_says_model_backbone_and_data(path):
    assert re.fullmatch(r'oneformer_[a-z0-9-]+_[a-z0-9-]+', path.stem)


def test_the_docstring_says_how_to_run_it(path):
    docstring = path.read_text().split('"""')[1]
    assert re.search(r'^(Train|Run): ', docstring, re.MULTILINE)


def test_the_leaf_is_short(path):
    assert len(path.read_text().splitlines()) <= 40


def test_model_and_data_have_the_same_classes(config):
    for loader in ('train', 'val', 'test'):
        dataset = config[f'{loader}_dataloader'].dataset
        # Without metainfo the classes are read from the annotations.
        assert dataset.get('metainfo', config.model.metainfo) == (
            config.model.metainfo
        )


def test_metrics_carry_the_prefix_of_their_task(config):
    prefixes = [metric.prefix for metric in config.val_evaluator]
    assert prefixes == ['panoptic', 'instance', 'semantic']


def test_pipelines_build(config):
    for loader in ('train', 'val', 'test'):
        for step in config[f'{loader}_dataloader'].dataset.pipeline:
            TRANSFORMS.build(step)
    assert DATASETS.get(config.train_dataloader.dataset.type) is not None


def test_the_learning_rate_ends_with_the_training(config):
    assert config.param_scheduler[-1].end == config.train_cfg.max_iters


def test_the_inference_model_builds_and_answers_three_tasks(config):
    config.model.backbone.init_cfg = None
    config.model.train_cfg = None
    model = MODELS.build(config.model).eval()
    assert model.tasks == ('panoptic', 'instance', 'semantic')
    num_classes = len(config.model.metainfo.classes)
    with torch.no_grad():
        cls_scores, mask_preds = model(torch.rand(1, 3, 64, 96))
    queries = config.model.panoptic_head.num_queries
    layers = config.model.panoptic_head.transformer_decoder.num_layers
    assert len(cls_scores) == len(mask_preds) == layers + 1
    assert cls_scores[-1].shape == (1, queries, num_classes + 1)
    assert mask_preds[-1].shape == (1, queries, 16, 24)
