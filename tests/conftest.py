"""What all tests share."""

import importlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

# First, since it makes mmcv.ops importable for every test that follows.
importlib.import_module('projects.oneformer')

# One thread, as the tensors of the tests are too small to gain from more,
# unless the environment asks for more. Child processes inherit the variable.
os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))


@pytest.fixture(autouse=True)
def seeds():
    """The same random numbers in every test, in whatever order they run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def scope():
    """A runner sets the registry that all later builds begin with."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict = before


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of small real data sets beside the checkout."""
    folder = Path(__file__).parents[1] / '..' / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('needs the data sets of ../shared/data')
    return folder.resolve()


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A small Swin model, and its two ONNX files of free sizes."""
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra export')
    from types import SimpleNamespace

    from projects.oneformer.export import export_onnx
    from tests.exported_models import small_config, small_inferencer

    folder = tmp_path_factory.mktemp('exported')
    config = small_config('swin', object_mask_thr=0.2)
    inferencer = small_inferencer(config, folder)
    export_onnx(config, inferencer.model, folder / 'onnx')
    return SimpleNamespace(
        config=config, inferencer=inferencer, folder=folder / 'onnx'
    )
