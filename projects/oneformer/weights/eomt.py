"""Weights of EoMT: the files of its authors (tue-mps) and of transformers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InputError
from .key_table import Row, convert, convert_back, with_prefix
from .vit import (
    DINOV3_BLOCK,
    PLAIN,
    VIT,
    blocks,
    dinov3,
    divide,
    separate_biases,
    unite,
)

_PROJ = ('q_proj', 'k_proj', 'v_proj')
_HEAD = 'panoptic_head.'
MASK_PROBS = 'panoptic_head.mask_probs'
# Settings of the criterion, and of the pre-processing.
_SETTINGS = [
    Row('criterion.empty_weight', None),
    Row('encoder.pixel_mean', None),
    Row('encoder.pixel_std', None),
]

# In memory from version 4.54 on. Version 5 has DINOv3, too.
TRANSFORMERS = [
    Row('embeddings.cls_token', f'{VIT}cls_token'),
    Row('embeddings.register_tokens', f'{VIT}registers'),
    Row(
        'embeddings.position_embeddings.weight',
        f'{VIT}positions',
        change=lambda table: table[None],
        undo=lambda positions: positions[0],
    ),
    Row('embeddings.patch_embeddings.projection.*', f'{VIT}patch_embed.*'),
    Row('embeddings.patch_embeddings.*', f'{VIT}patch_embed.*'),
    Row('embeddings.mask_token', None),
    *blocks(
        'layers',
        [
            Row('attention.{part}.*', 'attn.qkv.*', parts=_PROJ),
            Row('attention.out_proj.*', 'attn.proj.*'),
            Row('mlp.fc1.*', 'ffn.fc1.*'),
            Row('mlp.fc2.*', 'ffn.fc2.*'),
            Row('norm1.*', 'norm1.*'),
            Row('norm2.*', 'norm2.*'),
            Row('layer_scale1.lambda1', 'scale1'),
            Row('layer_scale2.lambda1', 'scale2'),
        ],
    ),
    Row('layernorm.*', f'{VIT}norm.*'),
    Row('norm.*', f'{VIT}norm.*'),
    *with_prefix(
        '',
        _HEAD,
        [
            Row('query.weight', 'query_embed.weight'),
            Row('class_predictor.*', 'cls_embed.*'),
            *(
                Row(f'mask_head.fc{i + 1}.*', f'mask_embed.{2 * i}.*')
                for i in range(3)
            ),
            Row('upscale_block.block.{i}.conv1.*', 'upscale.{i}.enlarge.*'),
            Row('upscale_block.block.{i}.conv2.*', 'upscale.{i}.smooth.*'),
            Row('upscale_block.block.{i}.layernorm2d.*', 'upscale.{i}.norm.*'),
            Row('attn_mask_probs', 'mask_probs'),
        ],
    ),
    *_SETTINGS,
]
# The giant model, in version 4 and in version 5.
_SWIGLU = [
    blocks(
        'layers',
        [
            Row('mlp.weights_in.*', 'ffn.fc1.*'),
            Row('mlp.weights_out.*', 'ffn.fc2.*'),
        ],
    ),
    blocks(
        'layers',
        [
            Row('mlp.{part}.*', 'ffn.fc1.*', parts=('gate_proj', 'up_proj')),
            Row('mlp.down_proj.*', 'ffn.fc2.*'),
        ],
    ),
]

_AUTHORS_HEAD = with_prefix(
    '',
    _HEAD,
    [
        Row('q.weight', 'query_embed.weight'),
        Row('class_head.*', 'cls_embed.*'),
        Row('mask_head.{i}.*', 'mask_embed.{i}.*'),
        Row('upscale.{i}.conv1.*', 'upscale.{i}.enlarge.*'),
        Row('upscale.{i}.conv2.*', 'upscale.{i}.smooth.*'),
        Row('upscale.{i}.norm.*', 'upscale.{i}.norm.*'),
        Row('attn_mask_probs', 'mask_probs'),
    ],
)
_DINOV3_OF_AUTHORS = dinov3('patch_embed', 'blocks')
_DINOV3_MARK = 'network.encoder.backbone.patch_embed.register_tokens'


def from_transformers_eomt(
    state_dict: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Convert a state dict of ``EomtForUniversalSegmentation``.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as in the file.

    Returns:
        dict[str, Tensor]: Entries of ``OneFormer`` with ``PlainViT`` and
        ``EoMTHead``.

    Raises:
        InputError: If there are entries of another model, or missing ones.
    """
    return _place(convert(state_dict, _transformers_table(state_dict)))


def to_transformers_eomt(
    state_dict: Mapping[str, Tensor], no_object_weight: float = 0.1
) -> dict[str, Tensor]:
    """Convert ours into the layout of ``EomtForUniversalSegmentation``.

    Args:
        state_dict (Mapping[str, Tensor]): Entries of a model without task
            token, with learned positions.
        no_object_weight (float): Of the class loss, which transformers keeps
            among its entries.

    Returns:
        dict[str, Tensor]: Entries under the names of transformers.

    Raises:
        InputError: If that layout has no place for an entry, as the task
            token.
    """
    table = TRANSFORMERS
    if any(name.endswith('.ffn.fc1.weight') for name in state_dict):
        first = state_dict['backbone.blocks.0.ffn.fc1.weight']
        second = state_dict['backbone.blocks.0.ffn.fc2.weight']
        if len(first) != second.shape[1]:  # gate and values
            table = _SWIGLU[0] + table
    converted = convert_back(unite(state_dict), table)
    classes = torch.ones(len(state_dict['panoptic_head.cls_embed.bias']))
    classes[-1] = no_object_weight
    return converted | {'criterion.empty_weight': classes}


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a file of tue-mps, whose weights are whole.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as in the file.

    Returns:
        dict[str, Tensor]: As of :func:`from_transformers_eomt`.

    Raises:
        InputError: If there are entries of another model, or missing ones,
            or the file holds differences to the weights of DINOv3.
    """
    converted = _convert_authors(state_dict)
    if _DINOV3_MARK in state_dict and holds_differences(converted):
        raise InputError(
            'the file holds differences to the weights of DINOv3 instead of '
            'weights: add them to those with '
            'tools/model_converters/add_dinov3.py'
        )
    return _place(converted)


def holds_differences(entries: Mapping[str, Tensor]) -> bool:
    """Whether a ViT is the difference of two: its norms are nearly 0.

    Args:
        entries (Mapping[str, Tensor]): Under ``vit.``.
    """
    norms = [
        value.float().abs().mean()
        for name, value in entries.items()
        if name.startswith(VIT) and 'norm' in name and name.endswith('.weight')
    ]
    return bool(norms) and float(sum(norms)) / len(norms) < 0.1


def add_differences(
    state_dict: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Complete a DINOv3 file of tue-mps by the weights of DINOv3.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as in the file: what the
            training changed of the ViT, and the other parts as they are.
        base (Mapping[str, Tensor]): Of the ViT, from
            :func:`.vit.to_whole_vit`.

    Returns:
        dict[str, Tensor]: As of :func:`from_transformers_eomt`.

    Raises:
        InputError: If the ViT is another one.
    """
    entries = _convert_authors(state_dict)
    for name, value in entries.items():
        if not name.startswith(VIT):
            continue
        if name not in base or base[name].shape != value.shape:
            raise InputError(
                f'the weights of DINOv3 do not fit: {name} is '
                f'{tuple(value.shape)} in the file of EoMT, and '
                + (
                    f'{tuple(base[name].shape)} there'
                    if name in base
                    else 'missing there'
                )
                + '. Give those of the same size (S, B or L).'
            )
        entries[name] = value + base[name]
    return _place(entries)


def _convert_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    vit = _DINOV3_OF_AUTHORS if _DINOV3_MARK in state_dict else PLAIN
    table = [
        *_AUTHORS_HEAD,
        *with_prefix('encoder.backbone.', '', vit),
        *_SETTINGS,
    ]
    return convert(state_dict, table, optional_prefix='network.')


def _transformers_table(names: Mapping[str, Tensor]) -> list[Row]:
    if any('.mlp.weights_in.' in name for name in names):
        return _SWIGLU[0] + TRANSFORMERS
    if any('.mlp.gate_proj.' in name for name in names):
        return _SWIGLU[1] + TRANSFORMERS
    if any('.attention.o_proj.' in name for name in names):
        return blocks('layers', DINOV3_BLOCK) + TRANSFORMERS
    return TRANSFORMERS


def _place(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide the blocks between backbone and head."""
    if MASK_PROBS not in entries:
        raise InputError(
            'attn_mask_probs is missing, whose length is the number of '
            'blocks that the queries join. Is the file complete?'
        )
    return divide(separate_biases(entries), len(entries[MASK_PROBS]))
