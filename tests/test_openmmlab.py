"""mmdet's own tools and functions run our configs as they are."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from projects.oneformer.drawing import class_colors
from tests.recipe_twins import load_config, shrink, shrink_sizes
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[1]
FAMILIES = (
    'oneformer_r50_coco',
    'oneformer_swin-t_ade20k',  # its test pipeline reads label maps, too
    'oneformer_convnext-l_cityscapes',
    'oneformer_dinat-l_coco',
    'oneformer_effnet-lite0_coco',
)
SIZE = (40, 60)


@pytest.fixture(scope='module', params=FAMILIES)
def small(request) -> Config:
    """A config of each backbone, small, that is sure of some segments."""
    config = load_config(request.param)
    if 'effnet' in request.param:
        pytest.importorskip('timm', reason='EfficientNet-Lite is of timm')
        config.model.backbone.init_cfg = None
        for step in config.val_dataloader.dataset.pipeline:
            shrink_sizes(step)
    else:
        shrink(config)
    config.test_dataloader = config.val_dataloader
    config.model.test_cfg.update(
        tasks=['panoptic', 'instance', 'semantic'],
        object_mask_thr=0.0,
        iou_thr=0.0,
    )
    return config


@pytest.fixture
def config(small) -> Config:
    """A copy, as mmdet's functions change the pipeline of theirs."""
    return copy.deepcopy(small)


@pytest.fixture(scope='module')
def weights(small, tmp_path_factory) -> str:
    """A checkpoint as mmengine's runner writes it, with random weights."""
    torch.manual_seed(0)
    model = MODELS.build(small.model)
    path = tmp_path_factory.mktemp('weights') / 'iter_1.pth'
    meta = dict(dataset_meta=dict(small.model.metainfo))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    """BGR, as OpenCV reads it."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture
def file(image, tmp_path) -> str:
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, image)
    return path


def check_results(sample, num_classes: int) -> None:
    """Check fields, shapes and types by what mmdet documents."""
    masks = sample.pred_instances.masks
    assert masks.dtype == torch.bool and masks.shape[1:] == SIZE
    count = len(masks)
    assert sample.pred_instances.labels.shape == (count,)
    assert sample.pred_instances.scores.shape == (count,)
    assert sample.pred_instances.bboxes.shape == (count, 4)
    panoptic = sample.pred_panoptic_seg.sem_seg
    assert panoptic.shape == (1, *SIZE)
    assert int((panoptic % 1000).max()) <= num_classes
    semantic = sample.pred_sem_seg.sem_seg
    assert semantic.shape == (1, *SIZE)
    assert int(semantic.max()) < num_classes


def test_a_detector_of_mmdet_takes_files_and_arrays(
    config, weights, image, file
):
    model = init_detector(config, weights, device='cpu', cfg_options={})
    of_file, of_list, of_array = (
        inference_detector(model, source) for source in (file, [file], image)
    )
    num_classes = len(config.model.metainfo.classes)
    for sample in (of_file, *of_list, of_array):
        check_results(sample, num_classes)
    for field in ('pred_panoptic_seg', 'pred_sem_seg'):
        assert torch.equal(
            of_file.get(field).sem_seg, of_array.get(field).sem_seg
        )
    assert of_file.img_path == file and of_file.ori_shape == SIZE
    palette = class_colors(num_classes).tolist()
    assert list(map(list, model.dataset_meta['palette'])) == palette


def test_the_inferencer_of_mmdet_draws_what_the_model_finds(
    config, weights, image, file, tmp_path
):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of matplotlib and mmengine
        inferencer = DetInferencer(
            config, weights, device='cpu', show_progress=False
        )
        found = inferencer(
            [file, image],
            batch_size=2,
            pred_score_thr=0.0,
            return_datasamples=True,  # dicts need panopticapi
            out_dir=str(tmp_path / 'out'),
        )
    for sample in found['predictions']:
        check_results(sample, len(config.model.metainfo.classes))
    drawn = cv2.imread(str(tmp_path / 'out' / 'vis' / 'image.png'))
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, image)


def test_the_test_tool_of_mmdet_evaluates_and_draws(tmp_path):
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'
    if not tool.is_file():
        pytest.skip('mmdet is installed without its tools')
    data = tmp_path / 'shapes'
    make_demo_data(data, num_train=1, num_val=2, size=64)
    path = ROOT / 'configs' / 'oneformer_r18_demo.py'
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'iter_1.pth')
    process = subprocess.run(
        [
            *(sys.executable, '-m', 'projects.oneformer', 'run', tool),
            *(path, tmp_path / 'iter_1.pth'),
            *('--work-dir', tmp_path / 'work', '--show-dir', 'drawn'),
            '--cfg-options',
            f'test_dataloader.dataset.data_root={data}',
            'test_dataloader.num_workers=0',
            'test_dataloader.persistent_workers=False',
            'model.test_cfg.object_mask_thr=0.0',
            'model.test_cfg.iou_thr=0.0',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    for metric in ('panoptic/PQ', 'instance/segm_mAP', 'semantic/mIoU'):
        assert f'{metric}: ' in process.stdout
    assert len(list((tmp_path / 'work').glob('*/drawn/*'))) == 2
