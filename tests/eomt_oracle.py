"""The EoMT of transformers with the weights of a small one of ours."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from projects.oneformer.weights.eomt import to_transformers_eomt
from projects.oneformer.weights.vit import divide, to_whole_vit
from tests.model_configs import (
    NUM_CLASSES,
    NUM_POINTS,
    NUM_QUERIES,
    WIDTH,
    build_model,
    tiny_eomt,
)

transformers = pytest.importorskip(
    'transformers',
    minversion='4.57',
    reason='needs EoMT and DINOv3 of transformers 4.57',
)
SIZE = 64


class Pair(NamedTuple):
    """Both networks, with equal weights."""

    oracle: nn.Module
    ours: nn.Module


def make_pair(mask_probs: tuple[float, float]) -> Pair:
    """Return networks whose joint blocks are masked as said.

    Args:
        mask_probs (tuple[float, float]): Of the two joint blocks.
    """
    ours = build_model(tiny_eomt(size=SIZE))
    ours.panoptic_head.set_mask_probs(mask_probs)
    oracle = transformers.EomtForUniversalSegmentation(oracle_config())
    oracle.load_state_dict(to_transformers_eomt(ours.state_dict()))
    return Pair(oracle.eval(), ours)


def oracle_config(**settings) -> transformers.EomtConfig:
    """Return the config of the oracle for :func:`tiny_eomt`."""
    return transformers.EomtConfig(
        **dict(
            hidden_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=1.5,
            image_size=SIZE,
            num_blocks=2,
            num_queries=NUM_QUERIES,
            num_labels=NUM_CLASSES,
            train_num_points=NUM_POINTS,
            attn_implementation='sdpa',
            **settings,
        )
    )


def oracle_predictions(
    oracle: nn.Module, pictures: Tensor, **labels
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Return class and mask logits of all predictions, and the loss.

    The oracle returns the last prediction only.
    """
    found = []

    def record(_, inputs, output):
        found.append(output)

    predict, cls_scores, mask_preds = oracle.predict, [], []

    def traced(hidden):
        masks, classes = predict(hidden)
        mask_preds.append(masks)
        cls_scores.append(classes)
        return masks, classes

    oracle.predict = traced
    try:
        output = oracle(pictures, **labels)
    finally:
        del oracle.predict
    torch.testing.assert_close(cls_scores[-1], output.class_queries_logits)
    return cls_scores, mask_preds, output.loss


def dinov3_pair():
    """DINOv3 of transformers, and a model of ours with its weights."""
    theirs = transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=96,
            num_register_tokens=4,
            image_size=SIZE,
            attn_implementation='sdpa',
        )
    ).eval()
    ours = build_model(tiny_eomt(training=False, rotary=True))
    with torch.no_grad():
        for param in theirs.parameters():
            if param.dim() > 1:
                param.normal_(std=1.5 * (param.numel() / len(param)) ** -0.5)
            else:
                param.add_(torch.randn_like(param), alpha=0.1)
    vit = divide(to_whole_vit(theirs.state_dict(), 'the oracle'), 2)
    ours.load_state_dict(ours.state_dict() | vit)
    return theirs, ours
