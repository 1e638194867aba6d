"""The recipes against the reference: every number typed in, none computed.

Then each is trained for one iteration and evaluated, at a tiny size.
"""

import ast
import functools
import re
import runpy
from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmdet.registry import DATASETS, MODELS, PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from torch import nn

from tests.pipeline_steps import step_of
from tests.recipe_twins import (
    CONFIGS,
    build_on_meta,
    load_config,
    make_images,
    shrink,
)


class Recipe(NamedTuple):
    """What the recipes differ in; the rest follows from data and backbone."""

    reference: str
    data: str
    queries: int
    iterations: int
    amp: bool
    drop_path: float | None
    test_scale: tuple[int, int]  # long side at most, short side
    init: str  # end of the address of the weights


R50 = 'resnet50'
SWIN_T = 'swin_tiny_patch4_window7_224.pth'
SWIN_L = 'swin_large_patch4_window12_384_22kto1k.pth'
CONVNEXT_L = 'convnext_large_22k_1k_384.pth'
CONVNEXT_XL = 'convnext_xlarge_22k_1k_384_ema.pth'
DINAT_11 = 'dinat_large_in22k_in1k_384_11x11.pth'
DINAT_7 = 'dinat_large_in22k_224.pth'
FROM_COCO = 'oneformer/coco/150_16_dinat_l_oneformer_coco_100ep.pth'
FROM_MAPILLARY = (
    'oneformer/mapillary/'
    'mapillary_pretrain_250_16_convnext_{}_oneformer_mapillary_300k.pth'
)

# fmt: off
# ruff: noqa: E501
RECIPES = {
    'r50_ade20k': Recipe('ade20k/oneformer_R50_bs16_160k', 'ade20k 512', 150, 160_000, True, None, (2048, 512), R50),
    'swin-t_ade20k': Recipe('ade20k/swin/oneformer_swin_tiny_bs16_160k', 'ade20k 512', 150, 160_000, True, 0.3, (2048, 512), SWIN_T),
    'swin-l_ade20k': Recipe('ade20k/swin/oneformer_swin_large_bs16_160k', 'ade20k 640', 250, 160_000, True, 0.3, (2560, 640), SWIN_L),
    'swin-l_ade20k-896': Recipe('ade20k/swin/oneformer_swin_large_bs16_160k_896x896', 'ade20k 896', 250, 160_000, True, 0.3, (3584, 896), SWIN_L),
    'swin-l_ade20k-1280': Recipe('ade20k/swin/oneformer_swin_large_bs16_160k_1280x1280', 'ade20k 1280', 250, 160_000, True, 0.3, (5120, 1280), SWIN_L),
    'convnext-l_ade20k': Recipe('ade20k/convnext/oneformer_convnext_large_bs16_160k', 'ade20k 640', 250, 160_000, True, 0.4, (2560, 640), CONVNEXT_L),
    'convnext-xl_ade20k': Recipe('ade20k/convnext/oneformer_convnext_xlarge_bs16_160k', 'ade20k 640', 250, 160_000, True, 0.4, (2560, 640), CONVNEXT_XL),
    'dinat-l_ade20k': Recipe('ade20k/dinat/oneformer_dinat_large_bs16_160k', 'ade20k 640', 250, 160_000, False, 0.3, (2560, 640), DINAT_11),
    'dinat-l_ade20k-896': Recipe('ade20k/dinat/oneformer_dinat_large_bs16_160k_896x896', 'ade20k 896', 250, 160_000, False, 0.3, (3584, 896), DINAT_11),
    'dinat-l_ade20k-1280': Recipe('ade20k/dinat/oneformer_dinat_large_bs16_160k_1280x1280', 'ade20k 1280', 250, 160_000, False, 0.3, (5120, 1280), DINAT_11),
    'dinat-l_ade20k-1280-coco-pretrain': Recipe('ade20k/dinat/coco_pretrain_oneformer_dinat_large_bs16_160k_1280x1280', 'ade20k 1280', 150, 160_000, False, 0.3, (5120, 1280), FROM_COCO),
    'r50_cityscapes': Recipe('cityscapes/oneformer_R50_bs16_90k', 'cityscapes', 150, 90_000, True, None, (2048, 1024), R50),
    'swin-l_cityscapes': Recipe('cityscapes/swin/oneformer_swin_large_bs16_90k', 'cityscapes', 250, 90_000, True, 0.3, (2048, 1024), SWIN_L),
    'convnext-l_cityscapes': Recipe('cityscapes/convnext/oneformer_convnext_large_bs16_90k', 'cityscapes', 250, 90_000, True, 0.4, (2048, 1024), CONVNEXT_L),
    'convnext-xl_cityscapes': Recipe('cityscapes/convnext/oneformer_convnext_xlarge_bs16_90k', 'cityscapes', 250, 90_000, True, 0.4, (2048, 1024), CONVNEXT_XL),
    'convnext-l_cityscapes-mapillary-pretrain': Recipe('cityscapes/convnext/mapillary_pretrain_oneformer_convnext_large_bs16_90k', 'cityscapes', 250, 90_000, True, 0.4, (2048, 1024), FROM_MAPILLARY.format('l')),
    'convnext-xl_cityscapes-mapillary-pretrain': Recipe('cityscapes/convnext/mapillary_pretrain_oneformer_convnext_xlarge_bs16_90k', 'cityscapes', 250, 90_000, True, 0.4, (2048, 1024), FROM_MAPILLARY.format('xl')),
    'dinat-l_cityscapes': Recipe('cityscapes/dinat/oneformer_dinat_large_bs16_90k', 'cityscapes', 250, 90_000, False, 0.3, (2048, 1024), DINAT_7),
    'r50_coco': Recipe('coco/oneformer_R50_bs16_50ep', 'coco', 150, 368_750, True, None, (1333, 800), R50),
    'swin-t_coco': Recipe('coco/swin/oneformer_swin_tiny_bs16_50ep', 'coco', 150, 368_750, True, 0.3, (1333, 800), SWIN_T),
    'swin-l_coco': Recipe('coco/swin/oneformer_swin_large_bs16_100ep', 'coco', 150, 737_500, False, 0.3, (1333, 800), SWIN_L),
    'dinat-l_coco': Recipe('coco/dinat/oneformer_dinat_large_bs16_100ep', 'coco', 150, 737_500, False, 0.3, (1333, 800), DINAT_11),
    'r50_mapillary': Recipe('mapillary_vistas/oneformer_R50_bs16_300k', 'mapillary', 150, 300_000, True, None, (2048, 2048), R50),
    'swin-l_mapillary': Recipe('mapillary_vistas/swin/oneformer_swin_large_bs16_300k', 'mapillary', 250, 300_000, True, 0.3, (2048, 2048), SWIN_L),
    'convnext-l_mapillary': Recipe('mapillary_vistas/convnext/oneformer_convnext_large_bs16_300k', 'mapillary', 250, 300_000, True, 0.4, (2048, 2048), CONVNEXT_L),
    'convnext-l_mapillary-for-cityscapes': Recipe('mapillary_vistas/convnext/cityscapes_pretrain_oneformer_convnext_large_bs16_300k', 'mapillary', 250, 300_000, True, 0.4, (2048, 2048), CONVNEXT_L),
    'convnext-xl_mapillary-for-cityscapes': Recipe('mapillary_vistas/convnext/cityscapes_pretrain_oneformer_convnext_xlarge_bs16_300k', 'mapillary', 250, 300_000, True, 0.4, (2048, 2048), CONVNEXT_XL),
    'dinat-l_mapillary': Recipe('mapillary_vistas/dinat/oneformer_dinat_large_bs16_300k', 'mapillary', 250, 300_000, False, 0.3, (2048, 2048), DINAT_11),
}
SHORT_SIDES = {
    'ade20k 512': (256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024),
    'ade20k 640': (320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1088, 1152, 1216, 1280),
    'ade20k 896': (448, 537, 627, 716, 806, 896, 985, 1075, 1164, 1254, 1344, 1433, 1523, 1612, 1702, 1792),
    'ade20k 1280': (640, 768, 896, 1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920, 2048, 2176, 2304, 2432, 2560),
    'cityscapes': (512, 614, 716, 819, 921, 1024, 1126, 1228, 1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048),
    'mapillary': (1024, 1228, 1433, 1638, 1843, 2048, 2252, 2457, 2662, 2867, 3072, 3276, 3481, 3686, 3891, 4096),
}
# fmt: on
LONG_SIDES = {
    'ade20k 512': 2048,
    'ade20k 640': 2560,
    'ade20k 896': 3584,
    'ade20k 1280': 5120,
    'cityscapes': 4096,
    'mapillary': 8192,
}
CROPS = {  # width, height
    'ade20k 512': (512, 512),
    'ade20k 640': (640, 640),
    'ade20k 896': (896, 896),
    'ade20k 1280': (1280, 1280),
    'cityscapes': (1024, 512),
    'mapillary': (1024, 1024),
}
# Classes and things among them, of the data sets by the first word.
CLASSES = dict(
    ade20k=(150, 100), cityscapes=(19, 8), coco=(133, 80), mapillary=(65, 37)
)
OBJECT_MASK_THR = dict(ade20k=0.5, cityscapes=0.8, coco=0.8, mapillary=0.8)
ALL_TASKS = dict(semantic=0.33, instance=0.33, panoptic=0.34)
NO_INSTANCE = dict(semantic=0.5, instance=0.0, panoptic=0.5)
# Learning rates in iterations: polynomial, power 0.9, and steps.
LEARNING_RATES = {
    90_000: {
        0: 1e-4,
        22_500: 7.718895067e-5,
        45_000: 5.358867313e-5,
        67_500: 2.871745887e-5,
        89_999: 3.476816272e-9,
    },
    160_000: {
        0: 1e-4,
        40_000: 7.718895067e-5,
        80_000: 5.358867313e-5,
        120_000: 2.871745887e-5,
        159_999: 2.071533761e-9,
    },
    300_000: {
        0: 1e-4,
        75_000: 7.718895067e-5,
        150_000: 5.358867313e-5,
        225_000: 2.871745887e-5,
        299_999: 1.176497126e-9,
    },
    368_750: {
        0: 1e-4,
        327_777: 1e-4,
        327_778: 1e-5,
        355_091: 1e-5,
        355_092: 1e-6,
        368_749: 1e-6,
    },
}
STEPS_100_EPOCHS = {
    'swin-l_coco': (655_556, 735_184),
    'dinat-l_coco': (655_556, 710_184),
}
DILATIONS = {
    'A': (
        (1, 20, 1),
        (1, 5, 1, 10),
        (1, 2, 1, 3, 1, 4, 1, 5, 1, 2, 1, 3, 1, 4, 1, 5, 1, 5),
        (1, 2, 1, 2, 1),
    ),
    'B': (
        (1, 28, 1),
        (1, 7, 1, 14),
        (1, 3, 1, 5, 1, 5, 1, 7, 1, 3, 1, 5, 1, 5, 1, 7, 1, 7),
        (1, 3, 1, 3, 1),
    ),
    'C': (
        (1, 18, 1),
        (1, 5, 1, 9),
        (1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4),
        (1, 2, 1, 2, 1),
    ),
}


@pytest.fixture(params=RECIPES)
def name(request):
    return request.param


@pytest.fixture
def recipe(name):
    return RECIPES[name]


@pytest.fixture
def config(name):
    return load_config(f'oneformer_{name}')


def test_every_recipe_of_the_reference_has_one_config():
    assert len(RECIPES) == 28
    assert len({recipe.reference for recipe in RECIPES.values()}) == 28
    for name in RECIPES:
        assert (CONFIGS / f'oneformer_{name}.py').exists()


def test_the_page_of_configs_lists_every_recipe(name, recipe):
    page = (CONFIGS.parent / 'docs' / 'configs.md').read_text()
    (row,) = [
        line for line in page.splitlines() if f'[oneformer_{name}](' in line
    ]
    assert f'`{recipe.reference}`' in row


def test_sixteen_images_make_an_iteration(config):
    assert config.train_dataloader.batch_size == 2  # on each of 8 GPUs
    assert config.auto_scale_lr.base_batch_size == 16
    assert config.train_dataloader.sampler == dict(
        type='InfiniteSampler', shuffle=True
    )
    batches = config.train_dataloader.batch_sampler
    assert batches == dict(type='AspectRatioBatchSampler')


def test_length_precision_and_evaluation_are_those_of_the_reference(
    config, recipe
):
    is_mapillary = recipe.data == 'mapillary'
    assert config.train_cfg == dict(
        type='ReproducibleTrainLoop',
        max_iters=recipe.iterations,
        val_interval=30_000 if is_mapillary else 5000,
    )
    assert config.train_dataloader.num_workers == (10 if is_mapillary else 4)
    wrapper = config.optim_wrapper
    if recipe.amp:
        assert wrapper.type == AmpOptimWrapper.__name__
        assert (wrapper.dtype, wrapper.loss_scale) == ('float16', 'dynamic')
    else:
        assert wrapper.type == 'OptimWrapper'
        assert 'dtype' not in wrapper
    assert 'clip_grad' not in wrapper
    assert 'accumulative_counts' not in wrapper


def test_images_are_augmented_as_in_the_reference(name, config, recipe):
    pipeline = config.train_dataloader.dataset.pipeline
    flip = dict(type='RandomFlip', prob=0.5)
    if recipe.data == 'coco':
        jitter = dict(
            type='LargeScaleJitter', size=(1024, 1024), ratio_range=(0.1, 2.0)
        )
        expected = [flip, jitter]
    else:
        scales = product([LONG_SIDES[recipe.data]], SHORT_SIDES[recipe.data])
        crop = CROPS[recipe.data]
        expected = [
            dict(
                type='RandomChoiceResizeCrop',
                scales=list(scales),
                crop_size=crop,
            ),
            dict(type='SSDColorJitter'),
            flip,
        ]
        if recipe.data != 'cityscapes':
            expected.append(dict(type='PadToSize', size=crop))
    loaded, augmented, targets = pipeline[:2], pipeline[2:-4], pipeline[-4:]
    assert [step.type for step in loaded] == [
        'LoadImageFromFile',
        'LoadSegments',
    ]
    assert loaded[0]._scope_ == 'projects.oneformer'
    assert augmented == expected
    tasks = ALL_TASKS
    if recipe.data == 'mapillary' and not name.endswith('-for-cityscapes'):
        tasks = NO_INSTANCE
    assert targets[0] == dict(type='SampleTask', probs=tasks)
    assert [step.type for step in targets] == [
        'SampleTask',
        'TaskTargets',
        'TaskTexts',
        'PackDetInputs',
    ]


def test_images_are_tested_as_in_the_reference(config, recipe):
    data = recipe.data.split()[0]
    pipeline = config.val_dataloader.dataset.pipeline
    assert step_of(pipeline, 'Resize') == dict(
        type='Resize',
        scale=recipe.test_scale,
        keep_ratio=True,
        backend='pillow',
    )
    assert config.test_dataloader == config.val_dataloader
    options = config.model.test_cfg
    assert options.object_mask_thr == OBJECT_MASK_THR[data]
    assert options.iou_thr == 0.8
    # Absent: as many as there are queries.
    assert 'max_per_image' not in options
    metrics = [metric.type for metric in config.val_evaluator]
    if data == 'mapillary':
        assert metrics == ['PanopticQuality', 'SemanticIoU']
        assert options.tasks == ['panoptic', 'semantic']
    else:
        average = 'InstanceAP'
        if data == 'cityscapes':
            average = 'CityscapesInstanceAP'
        assert metrics == ['PanopticQuality', average, 'SemanticIoU']
        assert options.tasks == ['panoptic', 'instance', 'semantic']
    assert config.test_evaluator == config.val_evaluator


def test_ade20k_and_cityscapes_are_measured_on_their_own_files(config, recipe):
    truth = [
        step
        for step in config.val_dataloader.dataset.pipeline
        if step.type == 'LoadSemanticTruth'
    ]
    if recipe.data.startswith('ade20k'):
        root = 'data/ADEChallengeData2016/'
        (step,) = truth
        assert step.img_prefix == f'{root}images/validation'
        assert step.seg_prefix == f'{root}annotations_detectron2/validation'
        metric = config.instance_ap
        assert metric in config.val_evaluator
        assert metric.ann_file == f'{root}ade20k_instance_val.json'
        assert metric.category_key == 'label'
        return
    assert truth == []
    if recipe.data == 'cityscapes':
        metric = config.instance_ap
        assert metric in config.val_evaluator
        assert metric.seg_prefix == 'data/cityscapes/gtFine/val'


def test_images_without_things_are_left_out_of_coco_only(config, recipe):
    filtered = config.train_dataloader.dataset.get('filter_cfg')
    if recipe.data == 'coco':
        assert filtered == dict(filter_empty_gt=True)
    else:
        assert filtered is None


def test_the_classes_are_those_of_the_data_set(config, recipe):
    data = recipe.data.split()[0]
    metainfo = config.model.metainfo
    found = len(metainfo.classes), len(metainfo.thing_classes)
    assert found == CLASSES[data]
    for loader in (config.train_dataloader, config.val_dataloader):
        assert loader.dataset.metainfo == metainfo


# Numbers of the classes that are stuff, and some names as they are written.
STUFF = dict(
    ade20k={
        *(*range(7), 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48),
        *(51, 52, 54, 59, 60, 61, 63, 68, 77, 79, 84, 91, 94, 96, 99, 100),
        *(101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145),
    },
    cityscapes=set(range(11)),
    coco=set(range(80, 133)),
    mapillary={*(*range(2, 8), *range(9, 19), *range(24, 32), 43, 58, 63, 64)},
)
SOME_NAMES = dict(
    ade20k={
        0: 'wall',
        8: 'window ',
        44: 'chest of drawers, chest, bureau, dresser',
        65: 'toilet, can, commode, crapper, pot, potty, stool, throne',
        94: 'land, ground, soil',
        121: 'step, stair',
        149: 'flag',
    },
    cityscapes={0: 'road', 7: 'traffic sign', 10: 'sky', 18: 'bicycle'},
    coco={
        0: 'person',
        60: 'dining table',
        79: 'toothbrush',
        86: 'door-stuff',
        119: 'sky-other-merged',
        132: 'rug-merged',
    },
    mapillary={
        0: 'Bird',
        8: 'Crosswalk - Plain',
        24: 'Lane Marking - General',
        49: 'Traffic Sign (Back)',
        55: 'Car',
        64: 'Ego Vehicle',
    },
)


@pytest.mark.parametrize('data', CLASSES)
def test_things_and_names_have_the_numbers_of_the_reference(data):
    metainfo = load_config(f'oneformer_r50_{data}').model.metainfo
    stuff = {
        number
        for number, name in enumerate(metainfo.classes)
        if name not in metainfo.thing_classes
    }
    assert stuff == STUFF[data]
    names = SOME_NAMES[data]
    assert {number: metainfo.classes[number] for number in names} == names
    assert len(set(metainfo.classes)) == len(metainfo.classes)


def test_weights_come_from_where_the_reference_took_them(config, recipe):
    backbone = config.model.backbone.init_cfg
    if 'oneformer' in recipe.init:
        assert backbone is None
        root = 'https://shi-labs.com/projects/'
        assert config.load_from == root + recipe.init
    else:
        assert config.load_from is None
        assert re.split('[/]', backbone.checkpoint)[-1] == recipe.init


def test_the_backbone_is_that_of_the_reference(name, config, recipe):
    backbone = config.model.backbone
    if name.startswith('r50'):
        trained = recipe.data in ('cityscapes', 'mapillary')
        assert backbone.depth == 50
        assert backbone.frozen_stages == -1
        assert backbone.style == 'pytorch'  # strides in the 3 x 3 layers
        assert backbone.norm_eval is not trained
        assert backbone.norm_cfg == dict(
            type='SyncBN' if trained else 'BN', requires_grad=trained
        )
        return
    assert backbone.drop_path_rate == recipe.drop_path
    if name.startswith('swin'):
        sizes = backbone.embed_dims, backbone.depths, backbone.window_size
        assert (
            sizes
            == {
                'swin-t': (96, (2, 2, 6, 2), 7),
                'swin-l': (192, (2, 2, 18, 2), 12),
            }[name[:6]]
        )
    if name.startswith('convnext'):
        assert backbone.layer_scale_init_value == 1.0
    if name.startswith('dinat'):
        is_c = recipe.data == 'cityscapes'
        kind = 'C' if is_c else 'B' if '1280' in name else 'A'
        assert backbone.kernel_size == (7 if is_c else 11)
        assert backbone.dilations == DILATIONS[kind]


def test_the_losses_are_those_of_the_reference(config, recipe):
    model = config.model
    assert model.panoptic_head.num_queries == recipe.queries
    criterion = model.train_cfg.criterion
    assert criterion.matcher == dict(
        type='QueryMatcher',
        class_cost=2.0,
        mask_cost=5.0,
        dice_cost=5.0,
        num_points=12544,
    )
    weights = [
        criterion[loss].loss_weight
        for loss in ('loss_cls', 'loss_mask', 'loss_dice')
    ]
    assert weights == [2.0, 5.0, 5.0]
    assert criterion.loss_dice.eps == 1.0
    assert criterion.no_object_weight == 0.1
    assert criterion.num_points == 12544
    assert criterion.oversample_ratio == 3.0
    assert criterion.importance_sample_ratio == 0.75
    contrastive = model.train_cfg.contrastive_loss
    assert contrastive.loss_weight == 0.5
    assert contrastive.temperature == 0.07
    text = model.train_cfg.text_mapper
    assert (text.num_layers, text.num_context) == (6, 16)
    assert text.num_projection_layers == 2


def test_layers_widths_and_dropout_are_those_of_the_reference(config):
    head = config.model.panoptic_head
    encoder = head.pixel_decoder.encoder
    stacks = {
        # layers, hidden channels, dropout of attention and of layers
        'pixel decoder': (encoder, 6, 1024, 0.1),
        'query init': (head.query_init.transformer, 2, 2048, 0.1),
        'decoder': (head.transformer_decoder, 9, 2048, 0.0),
    }
    for stack, layers, hidden, dropout in stacks.values():
        layer = stack.layer_cfg
        assert stack.num_layers == layers
        assert layer.ffn_cfg.feedforward_channels == hidden
        assert layer.ffn_cfg.ffn_drop == dropout
        for attention in ('self_attn_cfg', 'cross_attn_cfg'):
            if attention in layer:
                assert layer[attention].num_heads == 8
                assert layer[attention].embed_dims == 256
                assert layer[attention].dropout == dropout
    assert encoder.layer_cfg.self_attn_cfg.num_levels == 3
    assert encoder.layer_cfg.self_attn_cfg.num_points == 4


def test_colours_are_normalised_as_in_the_reference(config):
    preprocessor = config.model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb is True  # pictures are read as BGR
    assert preprocessor.pad_size_divisor == 32


def test_the_learning_rate_follows_the_schedule(name, config, recipe):
    expected = LEARNING_RATES.get(recipe.iterations)
    if name in STEPS_100_EPOCHS:
        first, second = STEPS_100_EPOCHS[name]
        expected = {
            0: 1e-4,
            first - 1: 1e-4,
            first: 1e-5,
            second - 1: 1e-5,
            second: 1e-6,
            737_499: 1e-6,
        }
    (options,) = config.param_scheduler
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.betas == (0.9, 0.999)
    assert optimizer.eps == 1e-8
    assert optimizer.weight_decay == 0.05
    found = learning_rates(str(dict(options)), optimizer.lr, tuple(expected))
    assert found == pytest.approx(expected, rel=1e-6)


@functools.cache
def learning_rates(
    options: str, base: float, iterations: tuple[int, ...]
) -> dict[int, float]:
    """Step a scheduler through a whole training; its options as a literal."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    optimizer.step()
    scheduler = PARAM_SCHEDULERS.build(
        ast.literal_eval(options), default_args=dict(optimizer=optimizer)
    )
    group, rates = optimizer.param_groups[0], {}
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            rates[iteration] = group['lr']
        scheduler.step()
    return rates


# One config of each backbone: parameters with and without weight decay, of
# the backbone, counted by hand. The rest of the model is the same for all.
BACKBONE_GROUPS = {
    # 53 convolutions; a weight and a bias for the norm of each, or frozen.
    'r50_coco': (53, 0),
    'r50_cityscapes': (53, 106),
    # Per block 8 weights and biases; 4 of norms and a table of positions.
    # Besides, 2 of the patches and 3 mergers; 2 of the norm of the patches,
    # 6 of those of the mergers, 8 of those of the outputs.
    'swin-t_ade20k': (12 * 8 + 5, 12 * 5 + 16),
    'swin-l_coco': (24 * 8 + 5, 24 * 5 + 16),
    # Per block 2 + 2 + 2 + 2 and the scale; 4 layers that shrink, 8 norms.
    'convnext-l_ade20k': (36 * 9 + 8 + 16, 0),
    'convnext-xl_ade20k': (36 * 9 + 8 + 16, 0),
    # Per block 8 and a table of positions; 4 of norms. Besides, 4 of the
    # patches and 3 of the layers that shrink; norms as with Swin.
    'dinat-l_ade20k': (30 * 9 + 7, 30 * 4 + 16),
    'dinat-l_cityscapes': (30 * 9 + 7, 30 * 4 + 16),
}
# Pixel decoder: 5 GN, 6 x 2 LN. Query init: 2 x 3 + 1 LN. Decoder: 9 x 3 + 1
# LN, 2 embeddings. Text: 6 x 2 + 1 LN, 2 embeddings.
HEAD_UNDECAYED = 10 + 24 + 14 + 56 + 2 + 26 + 2
# Pixel decoder: 3 x 2, 6 x 12, levels, 1, 1, 2. Query init: 2 and 2 x 12.
# Decoder: 9 x 12, 2, 3 x 2. Task token: 4. Text: 6 x 8, positions, 2 x 2.
# Scale of the contrastive loss.
HEAD_DECAYED = (
    6 + 72 + 1 + 1 + 1 + 2 + 2 + 24 + 108 + 2 + 6 + 4 + 48 + 1 + 4 + 1
)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.SyncBatchNorm)


@pytest.mark.parametrize('name', BACKBONE_GROUPS)
def test_every_parameter_has_the_rates_of_the_reference(name):
    config = load_config(f'oneformer_{name}')
    model = build_on_meta(config.model)
    rates = rates_of(model, config.optim_wrapper)
    modules = dict(model.named_modules())
    for path, (lr, decay) in rates.items():
        owner, _, leaf = path.rpartition('.')
        in_backbone = path.startswith('backbone.')
        undecayed = (
            isinstance(modules[owner], NORMS)
            and not (in_backbone and 'convnext' in name)
            or isinstance(modules[owner], nn.Embedding)
            and 'level_encoding' not in path  # bare in the reference
            or leaf == 'relative_position_bias_table'
        )
        assert lr == pytest.approx(1e-5 if in_backbone else 1e-4), path
        assert decay == (0.0 if undecayed else 0.05), path
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(rates) == trained
    counts = Counter(
        (path.startswith('backbone.'), decay > 0)
        for path, (_, decay) in rates.items()
    )
    decayed, undecayed = BACKBONE_GROUPS[name]
    assert counts == Counter(
        {
            (True, True): decayed,
            (True, False): undecayed,
            (False, True): HEAD_DECAYED,
            (False, False): HEAD_UNDECAYED,
        }
    )


@pytest.mark.parametrize(
    ('name', 'decay', 'paths'),
    [
        (
            'swin-t_ade20k',
            0.0,
            'backbone.patch_embed.norm.bias backbone.norm3.weight '
            'backbone.stages.2.blocks.5.attn.w_msa.'
            'relative_position_bias_table panoptic_head.query_embed.weight '
            'panoptic_head.level_embed.weight '
            'panoptic_head.pixel_decoder.input_convs.0.gn.bias '
            'panoptic_head.decoder.post_norm.bias '
            'panoptic_head.text_mapper.context.weight '
            'panoptic_head.text_mapper.encoder.token_embedding.weight',
        ),
        (
            'swin-t_ade20k',
            0.05,
            'backbone.stages.0.blocks.0.attn.w_msa.qkv.bias '
            'panoptic_head.cls_embed.bias '
            'panoptic_head.contrastive_loss.logit_scale '
            'panoptic_head.pixel_decoder.level_encoding.weight '
            'panoptic_head.text_mapper.encoder.positional_embedding',
        ),
        (
            'convnext-l_ade20k',
            0.05,
            'backbone.downsample_layers.0.1.weight '
            'backbone.downsample_layers.3.0.bias '
            'backbone.stages.2.26.norm.weight backbone.stages.0.0.gamma '
            'backbone.norm0.bias',
        ),
        ('dinat-l_ade20k', 0.05, 'backbone.levels.2.blocks.17.attn.rpb'),
        ('dinat-l_ade20k', 0.0, 'backbone.levels.0.downsample.norm.weight'),
        ('r50_cityscapes', 0.0, 'backbone.layer1.0.bn1.weight'),
    ],
)
def test_decay_of_the_parameters_that_are_easily_mistaken(name, decay, paths):
    config = load_config(f'oneformer_{name}')
    rates = rates_of(build_on_meta(config.model), config.optim_wrapper)
    assert {path: rates[path][1] for path in paths.split()} == dict.fromkeys(
        paths.split(), decay
    )


def rates_of(model: nn.Module, wrapper) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each trained parameter, by name."""
    options = {
        key: value
        for key, value in wrapper.items()
        if key not in ('dtype', 'loss_scale')
    }
    options['type'] = 'OptimWrapper'
    groups = build_optim_wrapper(model, options).optimizer.param_groups
    names = {id(param): name for name, param in model.named_parameters()}
    rates = {}
    for group in groups:
        for param in group['params']:
            name = names.pop(id(param))  # in one group only
            rates[name] = group['lr'], group['weight_decay']
    return rates


@pytest.mark.parametrize(
    ('name', 'all_parts', 'inference'),
    # Millions of parameters, published for the reference.
    [
        ('swin-t_ade20k', 68.279, 50.736),
        ('swin-l_ade20k', 236.354, 218.811),
        ('convnext-l_ade20k', 237.386, 219.843),
        ('convnext-xl_ade20k', 389.550, 372.007),
        ('dinat-l_ade20k', 240.763, 223.220),
    ],
)
def test_the_size_of_the_model_is_that_of_the_reference(
    name, all_parts, inference
):
    config = load_config(f'oneformer_{name}')
    assert millions(build_on_meta(config.model)) == all_parts
    config.model.train_cfg = None
    assert millions(build_on_meta(config.model)) == inference


def millions(model: nn.Module) -> float:
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 3)


def test_clipping_limits_the_norm_of_all_gradients_together():
    config = load_config('oneformer_swin-l_coco')
    config.merge_from_dict({'optim_wrapper.clip_grad.max_norm': 0.01})
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    for param in model.parameters():
        param.grad = torch.full_like(param, 3.0)
    wrapper.step()
    squares = sum(param.grad.square().sum() for param in model.parameters())
    assert float(squares) == pytest.approx(1e-4, rel=1e-3)


def test_a_small_twin_trains_and_answers(name, config, recipe, tmp_path):
    config = derive_all_truth(shrink(config))
    # In Cityscapes the names of the images include a folder.
    folder = 'aachen/' if recipe.data == 'cityscapes' else ''
    for loader in (config.train_dataloader, config.val_dataloader):
        make_images(loader.dataset, tmp_path, folder)
    model = MODELS.build(config.model)
    train_one_iteration(model, config)

    dataset = DATASETS.build(config.val_dataloader.dataset)
    model.eval()
    with torch.no_grad():
        samples = model.val_step(pseudo_collate([dataset[0]]))
    (sample,) = samples
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 64, 96)
    assert int(sample.pred_sem_seg.sem_seg.max()) < len(
        dataset.metainfo['classes']
    )
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process(samples, None)
    metrics = evaluator.evaluate(1)
    measured = ['panoptic/PQ', 'semantic/mIoU']
    if recipe.data != 'mapillary':
        assert sample.pred_instances.masks.shape[1:] == (64, 96)
        measured.append('instance/segm_mAP')
    assert all(0 <= metrics[key] <= 100 for key in measured)


def derive_all_truth(config):
    """Measure on the panoptic annotation alone, which the twins have."""
    pipeline = config.val_dataloader.dataset.pipeline
    config.val_dataloader.dataset.pipeline = [
        step for step in pipeline if step.type != 'LoadSemanticTruth'
    ]
    for metric in config.val_evaluator:
        if metric.prefix == 'instance':
            metric.clear()
            metric.update(type='InstanceAP', prefix='instance')
    return config


def train_one_iteration(model: nn.Module, config) -> None:
    """Train on two images, and check what the model was given and did."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[1]])
    for inputs, sample in zip(
        batch['inputs'], batch['data_samples'], strict=True
    ):
        assert inputs.shape[1:] == sample.img_shape
        assert sample.gt_instances.masks.masks.shape[1:] == sample.img_shape
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(loss).all() for loss in losses.values())
    # Of 4 predictions, class, mask and dice; the contrastive one; the sum.
    assert len(losses) == 4 * 3 + 2
    still = {
        n
        for n, p in model.named_parameters()
        if p.requires_grad and torch.equal(p, before[n])
    }
    assert not still


@pytest.fixture
def precision(monkeypatch):
    """The module of tools/_precision.py."""
    folder = CONFIGS.parent / 'tools'
    monkeypatch.syspath_prepend(str(folder))
    return runpy.run_path(str(folder / '_precision.py'))


@pytest.mark.parametrize('has_gpu', [False, True])
def test_mixed_precision_falls_back_to_float32_without_a_gpu(
    precision, monkeypatch, capsys, has_gpu
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    config = load_config('oneformer_r50_coco')
    precision['use_what_there_is'](config)
    warned = capsys.readouterr().err
    if has_gpu:
        assert config.optim_wrapper.type == 'AmpOptimWrapper'
        assert not warned
    else:
        build_optim_wrapper(nn.Linear(2, 2), config.optim_wrapper)
        assert 'asks for mixed precision (float16)' in warned
        assert 'training in float32' in warned


def test_a_recipe_in_float32_trains_in_silence_without_a_gpu(
    precision, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = load_config('oneformer_swin-l_coco')
    precision['use_what_there_is'](config)
    assert (
        config.optim_wrapper
        == load_config('oneformer_swin-l_coco').optim_wrapper
    )
    assert not capsys.readouterr().err


def test_the_precision_can_be_chosen_on_the_command_line(
    precision, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    config = load_config('oneformer_r50_coco')
    precision['use_mixed_precision'](config, 'bfloat16')
    wrapper = config.optim_wrapper
    assert (wrapper.type, wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
    assert wrapper.loss_scale == 1.0
    precision['use_float32'](config)
    assert wrapper.type == 'OptimWrapper'
    assert not {'dtype', 'loss_scale'} & set(wrapper)


def config_of(source: str, folder: Path) -> Config:
    """Read a config as if it were a file in ``configs/``."""
    path = folder / 'changed.py'
    path.write_text(source.replace("'./", f"'{CONFIGS}/"))
    return Config.fromfile(path)


def test_a_step_is_changed_as_the_page_of_configs_shows(tmp_path):
    page = (CONFIGS.parent / 'docs' / 'configs.md').read_text()
    (example,) = [
        block
        for block in re.findall('```python\n(.*?)```', page, re.DOTALL)
        if 'size = 384' in block
    ]
    pipeline = config_of(example, tmp_path).train_dataloader.dataset.pipeline
    steps = {step.type: step for step in pipeline}
    crop = steps['RandomChoiceResizeCrop']
    assert crop.crop_size == (384, 384)
    assert (len(crop.scales), crop.scales[0]) == (16, (1536, 192))
    assert crop.scales[-1] == (1536, 768)
    assert steps['PadToSize'] == dict(type='PadToSize', size=(384, 384))
    base = load_config('oneformer_swin-t_ade20k').train_dataloader.dataset
    assert list(steps) == [step.type for step in base.pipeline]


def test_the_second_step_of_the_learning_rate_is_changed_by_its_name(tmp_path):
    source = (
        "_base_ = './oneformer_swin-l_coco.py'\n"
        'param_scheduler = [\n'
        '    dict(_base_.step_lr, milestones=[655556, 710184])\n'
        ']'
    )
    changed = config_of(source, tmp_path).param_scheduler
    assert changed == load_config('oneformer_dinat-l_coco').param_scheduler
