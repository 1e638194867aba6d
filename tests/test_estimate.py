"""The estimate of memory and time before a training."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config

from tests.model_configs import tiny_model

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'estimate.py'


@pytest.fixture(scope='module')
def tool():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location('estimate', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path


def tiny_config(**optimizer) -> Config:
    config = Config(dict(model=tiny_model(training=True)))
    config.optim_wrapper = dict(optimizer=optimizer or dict(type='AdamW'))
    return config


@pytest.fixture(scope='module')
def result(tool):
    return tool.estimate(tiny_config(), 2, (192, 160), 5, False, (64, 128))


def test_a_straight_line_is_continued(tool):
    # 3 + 2 x at 10 and 20, so 3 + 2 * 100.
    assert tool.extrapolate(23, 43, (10, 20), 100) == 203


def test_parameters_gradients_and_optimizer_state_are_counted(tool, result):
    model = tool.build(tiny_config())
    count = sum(p.numel() for p in model.parameters())
    assert result.parameters == result.trained == count
    assert result.weights == result.gradients == 4 * count
    assert result.optimizer == 8 * count  # two moments
    assert result.memory == 16 * count + result.activations


def test_frozen_parameters_have_neither_gradient_nor_state(tool):
    config = tiny_config(type='SGD', momentum=0.9)
    config.model.backbone.frozen_stages = 0
    frozen = tool.estimate(config, 1, (64, 64), 1, False, (64, 96))
    assert 0 < frozen.trained < frozen.parameters
    assert frozen.optimizer == frozen.gradients == 4 * frozen.trained


def test_activations_are_near_those_of_a_whole_step(tool, result):
    model = tool.build(tiny_config())
    # 192 x 160 pixels, as a square.
    side = 175
    whole = tool.measure(model, 176, 5)
    assert side**2 <= 192 * 160 < whole.pixels
    assert result.activations == pytest.approx(2 * whole.activations, rel=0.25)
    assert result.flops == pytest.approx(2 * 3 * whole.flops, rel=0.25)


def test_half_precision_halves_activations_and_nothing_else(tool, result):
    half = tool.estimate(tiny_config(), 2, (192, 160), 5, True, (64, 128))
    assert half.activations == pytest.approx(result.activations / 2, rel=0.02)
    assert half.weights == result.weights
    assert half.optimizer == result.optimizer


def test_a_step_holds_what_backward_needs(tool):
    weight = torch.zeros(1000, requires_grad=True)

    def step():
        weight.exp().exp().sum().backward()
        weight.grad = None

    # Two results of 4000 bytes, a scalar and its gradient, then gradients.
    assert 8000 < tool.peak_activations(step) <= 16_100


def test_the_size_is_that_of_the_last_transform_that_fixes_it(tool):
    def config(*pipeline):
        dataset = dict(dataset=dict(pipeline=list(pipeline)))
        return Config(dict(train_dataloader=dict(dataset=dataset)))

    # Width first, in all but the last.
    crop = dict(type='RandomCrop', crop_size=(400, 300))
    pad = dict(type='Pad', size=(640, 512), pad_val=dict(img=0))
    assert tool.training_size(config(crop, pad)) == (512, 640)
    assert tool.training_size(config(crop)) == (300, 400)
    crop = dict(type='RandomChoiceResizeCrop', crop_size=(400, 300))
    pad = dict(type='PadToSize', size=(640, 512))
    assert tool.training_size(config(crop, pad)) == (512, 640)
    assert tool.training_size(config(crop)) == (300, 400)
    jitter = dict(type='LargeScaleJitter', size=(300, 400))
    assert tool.training_size(config(jitter)) == (300, 400)
    with pytest.raises(ValueError, match='--size HEIGHT WIDTH'):
        tool.training_size(config(dict(type='RandomFlip', prob=0.5)))


def test_an_unknown_optimizer_is_refused(tool):
    with pytest.raises(ValueError, match='got LBFGS'):
        tool.optimizer_values(tiny_config(type='LBFGS'))


def test_time_follows_from_the_data_sheet(tool, result):
    (time, *_, how), (_, fits, _) = tool.time_rows(
        result._replace(flops=int(3.56e13)), False, '3090'
    )
    assert time == 'time' and '50% of 35.6 TFLOP/s' in how
    # 35.6 TFLOP at half of 35.6 TFLOP/s.
    assert (
        tool.time_rows(result._replace(flops=int(3.56e13)), False, '3090')[0][
            1
        ]
        == '2.00 s'
    )
    assert fits == 'yes'
    huge = result._replace(activations=30 * 2**30)
    assert tool.time_rows(huge, False, '3090')[1][1] == 'no'


def test_the_tool_prints_a_table_for_a_shipped_config():
    done = subprocess.run(
        [
            sys.executable, str(TOOL), 'configs/oneformer_r18_demo.py',
            '--crops', '64', '96', '--batch-size', '3', '--card', 'h100',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '3 images of 128 x 128' in done.stdout
    for word in ('counted', 'extrapolated', 'assumes', 'H100'):
        assert word in done.stdout
