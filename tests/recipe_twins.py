"""Full-size models without weights, and small twins of the recipes."""

import copy
import functools
import json
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

CONFIGS = Path(__file__).parents[1] / 'configs'
WIDTH = 64
# Sizes of images, crops and scales are divided by it.
SHRINK = 16


@functools.cache
def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def load_config(name: str) -> Config:
    """Return a copy of a config that the test may change."""
    config = copy.deepcopy(_read(name))
    init_default_scope(config.default_scope)
    return config


def build_on_meta(model: ConfigDict) -> nn.Module:
    """Build a model of whatever size, with parameters but no values."""
    model = copy.deepcopy(model)
    model.init_cfg = model.backbone.init_cfg = None
    # Drop path rates are read from a tensor, so it must have values.
    linspace = functools.partial(torch.linspace, device='cpu')
    with torch.device('meta'), mock.patch('torch.linspace', linspace):
        return MODELS.build(model)


def shrink(config: Config) -> Config:
    """Make a recipe small: the same types, fewer and smaller of everything.

    Data and model stay as they are in kind: number of levels, classes,
    tasks, augmentations, losses.
    """
    config.load_from = None
    head = config.model.panoptic_head
    head.num_queries = 20
    if config.model.backbone.type == 'PlainViT':
        shrink_vit(config.model)
    else:
        shrink_backbone(config.model.backbone)
        first = dict(ResNet=32).get(config.model.backbone.type, 16)
        head.in_channels = [first * 2**level for level in range(4)]
        shrink_widths(config.model)
        head.pixel_decoder.encoder.num_layers = 1
        head.query_init.transformer.num_layers = 1
        head.transformer_decoder.num_layers = 3
    train_cfg = config.model.train_cfg
    train_cfg.criterion.num_points = 64
    train_cfg.criterion.matcher.num_points = 64
    if train_cfg.text_mapper is not None:
        train_cfg.text_mapper.update(num_layers=1, num_context=4)
    for loader in ('train', 'val'):
        for part in parts_of(config[f'{loader}_dataloader'].dataset):
            for step in part.pipeline:
                shrink_sizes(step)
    config.optim_wrapper.type = 'OptimWrapper'
    for option in ('dtype', 'loss_scale'):
        config.optim_wrapper.pop(option, None)
    return config


def parts_of(dataset: ConfigDict) -> list[ConfigDict]:
    """Return the configs of the datasets in a config of one or several."""
    return dataset.get('datasets', [dataset])


def shrink_backbone(backbone: ConfigDict) -> None:
    """Make one of the backbones of the recipes small, of the same type."""
    backbone.init_cfg = None
    if 'drop_path_rate' in backbone:
        backbone.drop_path_rate = 0.0  # so that every parameter is trained
    transformer = dict(
        embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4)
    )
    if backbone.type == 'ResNet':
        backbone.update(base_channels=8, stem_channels=8)
    elif backbone.type == 'SwinTransformer':
        backbone.update(transformer)
    elif backbone.type == 'DiNAT':
        dilations = [level[:2] for level in backbone.dilations]
        backbone.update(transformer, kernel_size=3, dilations=dilations)
    else:
        backbone.arch = dict(depths=[1] * 4, channels=[16, 32, 64, 128])


def shrink_vit(model: ConfigDict) -> None:
    """Make the ViT of an EoMT small: two blocks, then two joint ones."""
    model.init_cfg = None
    small = dict(embed_dims=WIDTH, num_heads=4, feedforward_channels=96)
    for part in (model.backbone, model.panoptic_head):
        part.num_layers = 2
        part.block.update(small)
    if model.backbone.image_size is not None:
        model.backbone.image_size = 48
    model.data_preprocessor.pad_size_divisor = 16


def shrink_widths(config: ConfigDict) -> None:
    """Replace the width of the head wherever it is set."""
    sizes = dict(
        feat_channels=WIDTH,
        embed_dims=WIDTH,
        feedforward_channels=96,
        num_feats=WIDTH // 2,
    )
    for key, value in config.items():
        if key == 'backbone':
            continue
        if key in sizes:
            config[key] = sizes[key]
        elif isinstance(value, dict):
            shrink_widths(value)


def shrink_sizes(step: ConfigDict) -> None:
    """Divide the sizes of a transform."""
    for key in ('scale', 'size', 'crop_size'):
        if key in step:
            step[key] = tuple(side // SHRINK for side in step[key])
    if 'scales' in step:
        step.scales = [
            tuple(side // SHRINK for side in scale) for scale in step.scales
        ]


def make_images(
    dataset: ConfigDict, root: Path, folder: str = '', count: int = 2
) -> None:
    """Draw images where the config of a dataset expects them.

    Each shows the first thing twice, the last class that is stuff, and void.

    Args:
        dataset (ConfigDict): Its ``data_root`` is set to ``root``.
        root (Path): Folder of the data.
        folder (str): Below the prefix of the pictures, a part of their names.
        count (int): Number of pictures, 64 x 96 pixels each.
    """
    dataset.data_root = str(root)
    classes = dataset.metainfo.classes
    things = dataset.metainfo.thing_classes
    labels = [classes.index(things[0])] * 2
    labels += [max(i for i, n in enumerate(classes) if n not in things)]
    ids = np.zeros((64, 96, 3), np.uint8)  # RGB
    for number, (rows, columns) in enumerate(
        [((5, 30), (5, 40)), ((8, 60), (50, 90)), ((34, 64), (0, 44))], 1
    ):
        ids[slice(*rows), slice(*columns)] = (number, 0, number)
    images, annotations = [], []
    prefix = dataset.data_prefix
    rng = np.random.default_rng(0)
    for index in range(count):
        names = f'{folder}{index}.jpg', f'{index}.png'
        noise = rng.integers(0, 60, ids.shape)
        pictures = (ids * 60 + noise).astype(np.uint8), ids[..., ::-1]
        for base, name, image in zip(
            (prefix.img, prefix.seg), names, pictures, strict=True
        ):
            path = root / base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
        images.append(dict(id=index, file_name=names[0], height=64, width=96))
        segments = [
            dict(id=number * 65537, category_id=label + 1, iscrowd=0)
            for number, label in enumerate(labels, 1)
        ]
        annotations.append(
            dict(image_id=index, file_name=names[1], segments_info=segments)
        )
    categories = [
        dict(id=label + 1, name=name, isthing=int(name in things))
        for label, name in enumerate(classes)
    ]
    path = root / dataset.ann_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )
