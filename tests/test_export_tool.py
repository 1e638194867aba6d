"""The command that exports a model, and what it says of wrong files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from projects.oneformer.runtime import OnnxSegmenter
from projects.oneformer.weights.inference_model import inference_model
from tests.exported_models import drawn_image

ROOT = Path(__file__).parents[1]
CONFIG = 'configs/oneformer_r18_demo.py'


def export(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, 'tools/export.py', *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'model.pth'
    init_default_scope('mmdet')
    config = Config.fromfile(ROOT / CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(inference_model(config.model))
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.mark.slow
def test_the_command_writes_a_file_and_what_it_found(weights, tmp_path):
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra export')
    target = tmp_path / 'model.onnx'
    process = export(CONFIG, weights, '--out', target, '--single-file')
    assert process.returncode == 0, process.stderr
    assert list(tmp_path.iterdir()) == [target]
    lines = process.stdout.splitlines()
    assert lines[-1] == f'Wrote {target}.'
    found = [line for line in lines if re.match('onnxruntime', line)]
    assert len(found) == 4  # two outputs at two sizes
    result = OnnxSegmenter(target)(drawn_image(64, 96))
    assert result.tasks == ('panoptic', 'instance', 'semantic')


def test_the_weights_of_another_model_end_it_in_one_line(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), path)
    process = export(CONFIG, path, '--out', tmp_path / 'out')
    assert process.returncode == 1
    # Whatever the packages below warn of stands before.
    assert 'Traceback' not in process.stderr
    assert str(path) in process.stderr.splitlines()[-1]
    assert not (tmp_path / 'out').exists()


def test_help_comes_without_loading_torch():
    process = subprocess.run(
        [sys.executable, '-X', 'importtime', 'tools/export.py', '-h'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert 'Example: ' in process.stdout
    loaded = set(re.findall(r'\| +([\w.]+)$', process.stderr, re.MULTILINE))
    assert not loaded & {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet'}
