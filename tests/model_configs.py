"""A small OneFormer, and inputs for it, that tests build in a moment."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

import projects.oneformer  # noqa: F401
from projects.oneformer.text import class_text, filler_text

# Things and stuff on purpose in no order.
METAINFO = dict(
    classes=('wall', 'cat', 'sky', 'dog', 'car', 'road'),
    thing_classes=['cat', 'dog', 'car'],
)
NUM_CLASSES = len(METAINFO['classes'])
NUM_QUERIES = 20
NUM_POINTS = 112
WIDTH = 64


def tiny_model(
    training: bool = True, dropout: float = 0.0, **test_cfg
) -> ConfigDict:
    """Return the config of a model with every part, each of them small.

    Args:
        training (bool): With the parts that exist in training only.
        dropout (float): Rate in the pixel decoder and the query transformer.
        **test_cfg: Options of the test_cfg.
    """
    tokenizer = dict(type='CLIPTokenizer')
    attention = dict(embed_dims=WIDTH, num_heads=8, batch_first=True)
    model = dict(
        type='OneFormer',
        metainfo=METAINFO,
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
            pad_mask=True,
            mask_pad_value=0,
        ),
        backbone=dict(
            type='SwinTransformer',
            embed_dims=16,
            depths=(2, 2, 2, 2),
            num_heads=(1, 2, 2, 4),
            window_size=4,
            drop_path_rate=0.0,
        ),
        panoptic_head=dict(
            type='OneFormerHead',
            in_channels=[16, 32, 64, 128],
            feat_channels=WIDTH,
            num_queries=NUM_QUERIES,
            pixel_decoder=dict(
                type='OneFormerPixelDecoder',
                num_outs=3,
                encoder=dict(
                    num_layers=2,
                    layer_cfg=dict(
                        self_attn_cfg=dict(
                            attention,
                            num_levels=3,
                            num_points=4,
                            dropout=dropout,
                        ),
                        ffn_cfg=feed_forward(96, dropout),
                    ),
                ),
                positional_encoding=dict(num_feats=WIDTH // 2, normalize=True),
            ),
            task_token=dict(type='TaskToken', tokenizer=tokenizer),
            query_init=dict(
                type='QueryInit',
                transformer=dict(
                    num_layers=2,
                    layer_cfg=dict(
                        self_attn_cfg=dict(attention, dropout=dropout),
                        cross_attn_cfg=dict(attention, dropout=dropout),
                        ffn_cfg=feed_forward(128, dropout),
                    ),
                ),
            ),
            transformer_decoder=dict(
                num_layers=9,
                layer_cfg=dict(
                    self_attn_cfg=dict(attention, dropout=0.0),
                    cross_attn_cfg=dict(attention, dropout=0.0),
                    ffn_cfg=feed_forward(128, 0.0),
                ),
            ),
        ),
        panoptic_fusion_head=dict(type='OneFormerFusionHead'),
        train_cfg=dict(
            criterion=criterion(),
            text_mapper=dict(
                type='TextMapper',
                tokenizer=tokenizer,
                num_context=4,
                num_layers=2,
            ),
            contrastive_loss=dict(
                type='QueryTextContrastiveLoss',
                loss_weight=0.5,
                temperature=0.07,
            ),
        )
        if training
        else None,
        test_cfg=test_cfg,
    )
    return ConfigDict(model)


def tiny_eomt(
    training: bool = True,
    conditioned: bool = False,
    rotary: bool = False,
    task_at: tuple[str, ...] = ('queries',),
    size: int = 64,
    **test_cfg,
) -> ConfigDict:
    """Return the config of a small EoMT: two blocks, then two joint ones.

    Args:
        training (bool): With the parts that exist in training only.
        conditioned (bool): With task token and, in training, the text branch.
        rotary (bool): Of the DINOv3 kind instead of DINOv2.
        task_at (tuple[str, ...]): Where the task token enters.
        size (int): Side of the images that learned positions are for.
        **test_cfg: Options of the test_cfg.
    """
    tokenizer = dict(type='CLIPTokenizer')
    block = dict(embed_dims=WIDTH, num_heads=4, feedforward_channels=96)
    if rotary:
        block.update(key_bias=False, norm_eps=1e-5)
    train_cfg = dict(criterion=criterion())
    if conditioned:
        train_cfg.update(
            text_mapper=dict(
                type='TextMapper',
                tokenizer=tokenizer,
                num_context=4,
                num_layers=2,
            ),
            contrastive_loss=dict(type='QueryTextContrastiveLoss'),
        )
    model = dict(
        type='OneFormer',
        metainfo=METAINFO,
        data_preprocessor=dict(
            tiny_model().data_preprocessor, pad_size_divisor=16
        ),
        backbone=dict(
            type='PlainViT',
            num_layers=2,
            block=block,
            image_size=None if rotary else size,
        ),
        panoptic_head=dict(
            type='EoMTHead',
            num_queries=NUM_QUERIES,
            num_layers=2,
            block=block,
            task_at=task_at,
            task_token=dict(type='TaskToken', tokenizer=tokenizer)
            if conditioned
            else None,
        ),
        panoptic_fusion_head=dict(type='OneFormerFusionHead'),
        train_cfg=train_cfg if training else None,
        test_cfg=test_cfg,
    )
    return ConfigDict(model)


def criterion() -> ConfigDict:
    """Return the config of the criterion, without the number of classes."""
    return ConfigDict(
        type='OneFormerCriterion',
        matcher=dict(
            type='QueryMatcher',
            class_cost=2.0,
            mask_cost=5.0,
            dice_cost=5.0,
            num_points=NUM_POINTS,
        ),
        loss_cls=dict(
            type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0
        ),
        loss_mask=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0
        ),
        loss_dice=dict(
            type='DiceLoss',
            use_sigmoid=True,
            activate=True,
            naive_dice=True,
            eps=1.0,
            loss_weight=5.0,
        ),
        num_points=NUM_POINTS,
    )


def feed_forward(channels: int, dropout: float) -> dict:
    """Return the config of a feed-forward network."""
    return dict(
        embed_dims=WIDTH,
        feedforward_channels=channels,
        ffn_drop=dropout,
        act_cfg=dict(type='ReLU', inplace=True),
    )


SHARP_ATTENTION = ('in_proj', 'attn.qkv', 'q_proj', 'k_proj', 'v_proj')


def build_model(cfg: ConfigDict, seed: int = 0) -> nn.Module:
    """Build a model whose weights are random and depend on the seed only."""
    register_all_modules()
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    randomise(model)
    return model.eval()


@torch.no_grad()
def randomise(
    model: nn.Module, sharp_attention: tuple[str, ...] = SHARP_ATTENTION
) -> None:
    """Draw weights with which every part of a model matters.

    Many start at 0 or 1, or are so small that a mistake would not show. With
    these, queries differ from one another and masks cover a part of the
    image.

    Args:
        model (nn.Module): The model, which is changed.
        sharp_attention (tuple[str, ...]): Parts of the names of weights that
            get a larger scale, which makes attention differ between keys.
            Rounding then differs more, too.
    """
    for name, param in model.named_parameters():
        if param.numel() == 0:  # no register
            continue
        if param.dim() > 1:
            gain = 0.5
            if any(part in name for part in sharp_attention):
                gain = 2.5
            elif 'mask_embed' in name:
                gain = 0.9
            inputs = param.numel() / len(param)
            param.normal_(std=gain * inputs**-0.5)
        elif 'logit_scale' not in name:
            param.add_(torch.randn_like(param), alpha=0.1)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_()


def images(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return normalised images with coarse and fine structure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(
        batch, 3, height // 16, width // 16, generator=generator
    )
    fine = torch.randn(batch, 3, height, width, generator=generator)
    return nn.functional.interpolate(coarse, (height, width)) + 0.3 * fine


def data_sample(
    height: int,
    width: int,
    labels: list[int] | None = None,
    task: str | None = None,
    seed: int = 0,
) -> DetDataSample:
    """Return the sample of an image that fills its batch.

    Args:
        height (int): Height of the image.
        width (int): Width of the image.
        labels (list[int] | None): Of its rectangular objects; None for a
            sample without ground truth.
        task (str | None): Task that the sample asks for.
        seed (int): Of the rectangles.
    """
    size = (height, width)
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, batch_input_shape=size)
    )
    if task is not None:
        sample.set_metainfo(dict(task=task))
    if labels is not None:
        names = [METAINFO['classes'][label] for label in sorted(labels)]
        sample.set_metainfo(
            dict(
                texts=[class_text(name) for name in names],
                filler_text=filler_text(task or 'panoptic'),
            )
        )
        sample.gt_instances = InstanceData(
            labels=torch.tensor(labels, dtype=torch.long),
            masks=BitmapMasks(
                rectangles(len(labels), height, width, seed).numpy(), *size
            ),
        )
    return sample


def rectangles(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return masks of rectangles, uint8, (count, height, width)."""
    rng = np.random.default_rng(seed)
    masks = torch.zeros(count, height, width, dtype=torch.uint8)
    for mask in masks:
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        h, w = rng.integers(3, height // 2), rng.integers(3, width // 2)
        mask[y : y + h, x : x + w] = 1
    return masks


@torch.no_grad()
def be_sure_of_several_classes(model: nn.Module) -> None:
    """Let each query prefer another class; of random ones all prefer one."""
    model.eval()
    sample = data_sample(64, 96, task='panoptic')
    (*_, scores), _ = model(images(1, 64, 96), [sample], 'tensor')
    classes, mean = model.panoptic_head.cls_embed, scores[0].mean(0)
    scale = 3 / (scores[0] - mean).std()
    classes.weight *= scale
    classes.bias.copy_((classes.bias - mean) * scale)
    classes.bias[-1] -= 3.0
