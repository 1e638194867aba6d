"""Our reader of images, under the name that OpenMMLab looks for."""

import logging

import mmengine.logging
import mmengine.registry
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from projects.oneformer.datasets import LoadImage
from projects.oneformer.images import ImageError
from tests.pipeline_steps import step_of

CONFIG = 'configs/oneformer_r50_coco.py'
STEP = dict(type='LoadImageFromFile', _scope_='projects.oneformer')


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def built(**step):
    return Compose([step]).transforms[0]


@pytest.mark.parametrize('loader', ['train', 'val', 'test'])
def test_configs_ask_for_this_reader(loader):
    config = Config.fromfile(CONFIG)
    pipeline = config[f'{loader}_dataloader'].dataset.pipeline
    step = step_of(pipeline, 'LoadImageFromFile')
    assert step == STEP
    assert isinstance(built(**step), LoadImage)


def test_without_the_scope_the_reader_is_that_of_mmcv():
    assert type(built(type='LoadImageFromFile')) is LoadImageFromFile


def test_building_it_warns_of_no_missing_package(monkeypatch):
    logged = []

    def log(message, logger=None, level=logging.INFO):
        logged.append((level, message))

    monkeypatch.setattr(mmengine.logging, 'print_log', log)
    built(**STEP)
    assert logged
    assert [text for level, text in logged if level >= logging.WARNING] == []


def test_the_inferencer_of_mmdet_reads_by_it():
    """``DetInferencer`` changes the type of the step, and nothing else."""
    loader = built(**dict(STEP, type='mmdet.InferencerLoader'))
    assert isinstance(loader.from_file, LoadImage)
    assert isinstance(loader.from_ndarray, LoadImageFromNDArray)


def test_inference_detector_may_replace_it_for_arrays():
    """It changes the type of the first step."""
    step = built(**dict(STEP, type='mmdet.LoadImageFromNDArray'))
    assert isinstance(step, LoadImageFromNDArray)


def test_a_sample_gets_what_mmcv_gives(tmp_path):
    path = tmp_path / 'a.png'
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    found = built(**STEP)(dict(img_path=str(path)))
    stock = LoadImageFromFile(imdecode_backend='pillow')
    expected = stock(dict(img_path=str(path)))
    assert found.keys() == expected.keys()
    assert np.array_equal(found.pop('img'), expected.pop('img'))
    assert found == expected


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_the_limit_of_pixels_is_an_option(tmp_path):
    path = tmp_path / 'a.png'
    Image.new('L', (5, 5)).save(path)
    with pytest.raises(ImageError, match=r'5 x 5 = 25 pixels'):
        built(**STEP, max_pixels=24)(dict(img_path=str(path)))
    with pytest.raises(ValueError, match='max_pixels .* 1 or more, got 0'):
        built(**STEP, max_pixels=0)


def test_a_file_backend_reads_it(tmp_path):
    path = tmp_path / 'a.png'
    Image.new('L', (5, 4), 7).save(path)
    step = built(**STEP, backend_args=dict(backend='local'))
    assert (step(dict(img_path=str(path)))['img'] == 7).all()
    with pytest.raises(FileNotFoundError, match=r'none\.png does not exist'):
        step(dict(img_path=str(tmp_path / 'none.png')))
