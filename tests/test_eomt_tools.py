"""One checkpoint of an EoMT through every tool: the same three answers."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from projects.oneformer.errors import InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.results import SegmentationResult
from projects.oneformer.serve.limits import Upload
from projects.oneformer.serve.served_model import ServedModel
from projects.oneformer.tasks import TASKS
from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from tests.recipe_twins import CONFIGS
from tests.rounding import assert_same_labels
from tests.test_tools import short_run, tool

# Each part trains a small model first.
pytestmark = pytest.mark.slow
SMALL = """
_base_ = [
    '{configs}/_base_/models/oneformer_eomt-s.py',
    '{configs}/_base_/datasets/panoptic_128.py',
    '{configs}/_base_/schedules/eomt.py',
    '{configs}/_base_/default_runtime.py',
]

block = dict(embed_dims=64, num_heads=4, feedforward_channels=96)
things = ('disc', 'square', 'triangle', 'star')
metainfo = dict(
    classes=things + ('sky', 'grass', 'wall', 'water'), thing_classes=things
)
points = dict(num_points=64)
model = dict(
    metainfo=metainfo,
    backbone=dict(num_layers=2, block=block, image_size=128),
    panoptic_head=dict(num_queries=20, num_layers=2, block=block),
    train_cfg=dict(
        criterion=dict(points, matcher=points),
        text_mapper=dict(num_context=4, num_layers=1),
    ),
    # An untrained model is sure of nothing, but shall answer.
    test_cfg=dict(object_mask_thr=0.0, iou_thr=0.0),
    init_cfg=None,
)
train_cfg = dict(type='ReproducibleTrainLoop')
param_scheduler = [
    dict(type='TwoStageWarmupPolyLR', warmup=1, vit_warmup=1, end=4)
]
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]

tta_model = dict(type='OneFormerTTA')
keys = ('img_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction')
tta_pipeline = [
    _base_.load_image,
    dict(
        type='TestTimeAug',
        transforms=[
            [_base_.resize, dict(_base_.resize, scale=(160, 160))],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [_base_.load_segments],
            [_base_.eval_targets],
            [dict(type='PackDetInputs', meta_keys=keys)],
        ],
    ),
]
"""
PLAIN = """
model.update(
    panoptic_head=dict(model['panoptic_head'], task_token=None),
    train_cfg=dict(
        model['train_cfg'], text_mapper=None, contrastive_loss=None
    ),
)
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    numbers = ('--train', 8, '--val', 3, '--size', 64)
    tool('misc/make_demo_data.py', folder, *numbers)
    return folder


@pytest.fixture(scope='module', params=['plain', 'conditioned'])
def trained(request, data, tmp_path_factory):
    """A small EoMT after two steps of training."""
    folder = tmp_path_factory.mktemp(request.param)
    config = folder / 'small.py'
    text = SMALL.format(configs=CONFIGS)
    config.write_text(text + PLAIN * (request.param == 'plain'))
    options = short_run(data)
    process = tool('train.py', config, '--work-dir', folder, *options)
    return SimpleNamespace(
        config=config,
        checkpoint=folder / 'iter_2.pth',
        options=options,
        log=process.stdout,
        has_texts=request.param == 'conditioned',
    )


@pytest.fixture(scope='module')
def inferencer(trained):
    return OneFormerInferencer(trained.config, trained.checkpoint, 'cpu')


@pytest.fixture(scope='module')
def image(data) -> np.ndarray:
    return cv2.imread(str(next((data / 'val').iterdir())))


def assert_same_answers(
    found: SegmentationResult, expected: SegmentationResult
) -> None:
    """Compare the results of all tasks."""
    assert found.tasks == expected.tasks == TASKS
    for task in TASKS:
        ours, theirs = found.segments_of(task), expected.segments_of(task)
        assert ours
        assert [s.label for s in ours] == [s.label for s in theirs]
        for own, other in zip(ours, theirs, strict=True):
            assert_same_labels(own.mask, other.mask)


def test_training_anneals_the_masks_and_writes_all_parts(trained):
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    weights = checkpoint['state_dict']
    # The last sixth of any training is without masks.
    assert weights['panoptic_head.mask_probs'].tolist() == [0, 0]
    texts = any('text_mapper' in key for key in weights)
    assert texts == trained.has_texts
    assert ('loss_contrastive' in trained.log) == trained.has_texts
    assert re.search(r'task token \| panoptic \| ', trained.log)


def test_testing_measures_three_tasks(trained, tmp_path):
    process = tool(
        'test.py',
        trained.config,
        trained.checkpoint,
        *('--work-dir', tmp_path),
        *trained.options,
    )
    assert 'unexpected key' not in process.stdout
    assert 'missing keys' not in process.stdout
    for metric in ('PQ', 'segm_mAP', 'mIoU'):
        assert metric in process.stdout


def test_augmentation_at_test_time_measures_the_semantic_task(
    trained, tmp_path
):
    process = tool(
        'test.py',
        trained.config,
        trained.checkpoint,
        '--tta',
        *('--work-dir', tmp_path),
        *trained.options,
    )
    assert re.search(r'metric +\| mIoU +\|\n', process.stdout)


def test_prediction_writes_the_segments_of_the_inferencer(
    trained, inferencer, data, tmp_path
):
    tool(
        'infer.py',
        trained.config,
        data / 'val',
        *('--weights', trained.checkpoint),
        *('--task', *TASKS),
        *('--out-dir', tmp_path, '--device', 'cpu', '--batch-size', 1),
    )
    content = json.loads((tmp_path / 'segments.json').read_text())
    files = [Path(entry['file']) for entry in content['images']]
    results = inferencer(files, TASKS)
    for entry, result in zip(content['images'], results, strict=True):
        for task in ('panoptic', 'semantic'):
            areas = [segment['area'] for segment in entry[task]]
            assert areas == [s.area for s in result.segments_of(task)]


def test_a_saved_folder_gives_the_same_answers(inferencer, image, tmp_path):
    inferencer.save_pretrained(tmp_path / 'folder')
    loaded = OneFormerInferencer.from_pretrained(tmp_path / 'folder', 'cpu')
    (expected,), (found,) = (
        own(image, TASKS, score_thr=0.0) for own in (inferencer, loaded)
    )
    assert_same_answers(found, expected)


def test_a_folder_of_transformers_needs_its_config(
    trained, inferencer, image, tmp_path
):
    if trained.has_texts:
        pytest.skip('transformers has no conditioned EoMT')
    folder = tmp_path / 'folder'
    weights = inferencer.model.state_dict()
    save_huggingface_folder(inferencer.config, weights, folder)
    load = OneFormerInferencer.from_pretrained
    with pytest.raises(InputError, match='is an EoMT, .* give its config'):
        load(folder, 'cpu')
    loaded = load(folder, 'cpu', config=trained.config)
    (expected,), (found,) = (
        own(image, TASKS, score_thr=0.0) for own in (inferencer, loaded)
    )
    assert_same_answers(found, expected)


def test_a_served_model_gives_the_same_answers(inferencer, image):
    served = ServedModel('small', inferencer)
    assert served.tasks == TASKS
    upload = Upload('a.png', image[..., ::-1], image.shape[:2])
    (expected,) = inferencer(image, TASKS, score_thr=0.0)
    assert_same_answers(served.segment(upload), expected)
    for task in TASKS:
        result = served.segment_with_token(upload, 'semantic', task)
        assert result.semantic.shape == image.shape[:2]


def test_one_tile_gives_the_same_answers_and_several_cover_the_image(
    trained, inferencer, image
):
    def tiled(tile: int) -> SegmentationResult:
        inferencer = OneFormerInferencer(
            trained.config, trained.checkpoint, 'cpu', tile=tile
        )
        (result,) = inferencer(image, TASKS)
        return result

    (expected,) = inferencer(image, TASKS)
    assert np.array_equal(tiled(64).semantic, expected.semantic)
    several = tiled(48)
    assert several.tasks == TASKS
    assert several.semantic.shape == several.panoptic.shape == (64, 64)
