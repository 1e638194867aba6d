"""Networks to compare, with equal weights, and what to feed them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

# First, since it makes mmcv.ops importable for every import that follows.
import projects.oneformer  # noqa: E402, F401, I001
import mmdet  # noqa: E402
from mmdet.registry import MODELS, TASK_UTILS  # noqa: E402, F401
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine import Config, ConfigDict  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

from projects.oneformer.weights.inference_model import inference_model  # noqa: E402
from projects.oneformer.weights import from_huggingface  # noqa: E402
from projects.oneformer.text import (  # noqa: E402
    CLIPTokenizer,
    class_text,
    fill_text_slots,
    filler_text,
    task_sentence,
)
from model_configs import images, randomise, tiny_model  # noqa: E402

NUM_CLASSES, NUM_THINGS = 133, 80  # as in COCO
STAGES = ['stage1', 'stage2', 'stage3', 'stage4']
SWIN = {
    'swin-t': dict(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24],
        window_size=7,
    ),
    'swin-l': dict(
        embed_dim=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48],
        window_size=12,
    ),
    'tiny': dict(
        embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4],
        window_size=4,
    ),
}  # fmt: skip
# The model of tests/model_configs.py in the words of transformers.
TINY_HEAD = dict(
    num_queries=20,
    conv_dim=64,
    mask_dim=64,
    hidden_dim=64,
    encoder_feedforward_dim=96,
    dim_feedforward=128,
    encoder_layers=2,
    text_encoder_width=64,
    text_encoder_num_layers=2,
    text_encoder_n_ctx=4,
    train_num_points=112,
)


class Pair(NamedTuple):
    """The OneFormer of transformers and ours, with the same weights."""

    peer: nn.Module
    ours: nn.Module


def our_config(name: str, training: bool, num_queries: int) -> ConfigDict:
    """Return a shipped model config, or the tiny one, without init_cfg."""
    register_all_modules()
    if name == 'tiny':
        return tiny_model(training)
    path = ROOT / 'configs' / '_base_' / 'models' / f'oneformer_{name}.py'
    cfg = Config.fromfile(path).model
    cfg.backbone.init_cfg = None
    cfg.panoptic_head.num_queries = num_queries
    classes = [f'class {i}' for i in range(NUM_CLASSES)]
    cfg.metainfo = dict(classes=classes, thing_classes=classes[:NUM_THINGS])
    return cfg if training else inference_model(cfg)


def make_peer(
    name: str, training: bool, num_queries: int, num_classes: int
) -> nn.Module:
    """Build the network of transformers with weights that matter."""
    import transformers

    head = TINY_HEAD if name == 'tiny' else dict(num_queries=num_queries)
    if name in SWIN:
        backbone = transformers.SwinConfig(**SWIN[name], out_features=STAGES)
    else:
        backbone = transformers.ResNetConfig(out_features=STAGES)
    peer = transformers.OneFormerForUniversalSegmentation(
        transformers.OneFormerConfig(
            id2label={i: str(i) for i in range(num_classes)},
            is_training=training,
            backbone_config=backbone,
            **head,
        )
    )
    randomise(peer)
    return peer.train(training).requires_grad_(training)


def make_ours(
    name: str, training: bool, num_queries: int = 150, lean: bool = True
) -> nn.Module:
    """Build our network with weights that matter."""
    config = our_config(name, training, num_queries)
    ours = MODELS.build(dict(config, lean=lean))
    randomise(ours)
    return ours.train(training).requires_grad_(training)


def make_pair(name: str, training: bool, num_queries: int = 150) -> Pair:
    """Build both networks with equal weights, or those of R50 with unequal.

    Args:
        name (str): ``swin-t``, ``swin-l``, ``r50`` or ``tiny``.
        training (bool): With what exists in training only.
        num_queries (int): Queries; the tiny network has its own number.
    """
    torch.manual_seed(2)
    ours = make_ours(name, training, num_queries)
    peer = make_peer(
        name,
        training,
        num_queries,
        ours.panoptic_head.cls_embed.out_features - 1,
    )
    if name in SWIN:
        ours.load_state_dict(from_huggingface(peer.state_dict()))
    return Pair(peer, ours)


@torch.no_grad()
def make_confident(pair: Pair, inputs: Tensor, share: float = 0.2) -> None:
    """Let a share of the queries be sure of a class, the others of none.

    As with trained weights; random ones are sure of nothing, so that
    post-processing would have nothing to do.
    """
    output = pair.peer(inputs, task_ids(['panoptic']))
    logits = output.class_queries_logits[0]  # (Q, K + 1)
    for layer in (
        pair.peer.model.transformer_module.decoder.class_embed,
        pair.ours.panoptic_head.cls_embed,
    ):
        sharpen(layer, logits, share)


@torch.no_grad()
def make_ours_confident(
    ours: nn.Module, inputs: Tensor, share: float = 0.2
) -> None:
    """Do what :func:`make_confident` does, with our network alone."""
    samples = test_samples(inputs.shape[-1], len(inputs), 'panoptic')
    cls_scores, _ = ours(inputs, samples, 'tensor')
    sharpen(ours.panoptic_head.cls_embed, cls_scores[-1][0], share)


def sharpen(layer: nn.Linear, logits: Tensor, share: float) -> None:
    """Scale a class layer, and shift its "no object".

    Args:
        layer (nn.Linear): The last of a network.
        logits (Tensor): What it gives for an image, (Q, K + 1).
        share (float): Of the queries, to be sure of a class.
    """
    # As far apart as trained ones; further, and the probabilities would be
    # denormal numbers, which processors are slow at.
    scale = 5 / logits.std()
    margin = scale * (logits[:, :-1].amax(1) - logits[:, -1])
    layer.weight.mul_(scale)
    layer.bias.mul_(scale)
    layer.bias[-1] += margin.quantile(1 - share)


def mask2former(num_queries: int, tiny: bool = False) -> nn.Module:
    """Build mmdet's Mask2Former with Swin-T, of mmdet's own config.

    Args:
        num_queries (int): Queries.
        tiny (bool): With few layers and points: whether it runs.
    """
    configs = Path(mmdet.__file__).parent / '.mim' / 'configs'
    name = 'mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco-panoptic.py'
    cfg = Config.fromfile(configs / 'mask2former' / name).model
    cfg.backbone.init_cfg = None
    cfg.panoptic_head.num_queries = num_queries
    # All classes as things: then the peer needs no semantic map.
    cfg.panoptic_head.num_things_classes = NUM_CLASSES
    cfg.panoptic_head.num_stuff_classes = 0
    cfg.panoptic_fusion_head.num_things_classes = NUM_CLASSES
    cfg.panoptic_fusion_head.num_stuff_classes = 0
    if tiny:
        cfg.backbone.depths = (1, 1, 1, 1)
        cfg.panoptic_head.pixel_decoder.encoder.num_layers = 1
        cfg.panoptic_head.transformer_decoder.num_layers = 3
        cfg.train_cfg.num_points = 112
    model = MODELS.build(cfg)
    randomise(model)
    return model.train()


class Batch(NamedTuple):
    """One training batch in the form that each network wants."""

    inputs: Tensor  # (B, 3, H, W)
    samples: list[DetDataSample]
    peer: dict  # arguments of the network of transformers

    def to(self, device: str) -> 'Batch':
        """Return the batch with its tensors on a device."""
        for sample in self.samples:
            instances = sample.gt_instances
            instances.labels = instances.labels.to(device)
        peer = {
            key: [v.to(device) for v in value]
            if isinstance(value, list)
            else value.to(device)
            for key, value in self.peer.items()
        }
        return Batch(self.inputs.to(device), self.samples, peer)


def task_ids(tasks: Sequence[str]) -> Tensor:
    """Return the token ids of tasks, (B, 77), as transformers takes them."""
    return CLIPTokenizer()([task_sentence(task) for task in tasks]).float()


def test_samples(
    size: int, count: int = 1, task: str | None = None
) -> list[DetDataSample]:
    """Return the samples of images that fill their batch."""
    shape = (size, size)
    info = dict(img_shape=shape, ori_shape=shape, batch_input_shape=shape)
    if task is not None:
        info['task'] = task
    return [DetDataSample(metainfo=dict(info)) for _ in range(count)]


def training_batch(
    ours: nn.Module, size: int, objects: int, count: int = 2
) -> Batch:
    """Draw images with elliptic objects.

    Args:
        ours (nn.Module): The network, for its classes and number of texts.
        size (int): Height and width.
        objects (int): Objects of each image.
        count (int): Images, B.
    """
    names = ours.class_names
    rng = np.random.default_rng(objects)
    samples, ids = test_samples(size, count, 'panoptic'), []
    for sample in samples:
        labels = np.sort(rng.integers(0, len(names), objects))
        texts = [class_text(names[label]) for label in labels]
        filler = filler_text('panoptic')
        sample.set_metainfo(dict(texts=texts, filler_text=filler))
        sample.gt_instances = InstanceData(
            labels=torch.from_numpy(labels),
            masks=BitmapMasks(ellipses(rng, objects, size), size, size),
        )
        slots = ours.panoptic_head.text_mapper.num_texts
        ids.append(CLIPTokenizer()(fill_text_slots(texts, filler, slots)))
    inputs = images(count, size, size)
    peer = dict(
        pixel_values=inputs,
        task_inputs=task_ids(['panoptic'] * count),
        text_inputs=torch.stack(ids),
        mask_labels=[
            sample.gt_instances.masks.to_tensor(torch.float, 'cpu')
            for sample in samples
        ],
        class_labels=[sample.gt_instances.labels for sample in samples],
    )
    return Batch(inputs, samples, peer)


def ellipses(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return masks of ellipses of all sizes, uint8, (count, size, size)."""
    y, x = np.mgrid[:size, :size] / size
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks:
        cy, cx = rng.random(2)
        ry, rx = rng.uniform(0.02, 0.3, 2)
        mask[:] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    return masks
