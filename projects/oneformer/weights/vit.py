"""Weights of a whole Vision Transformer of the DINOv2 or DINOv3 kind.

Under our names they begin with ``vit.``; :func:`divide` gives the blocks to
the backbone and, the last ones with the final norm, to the head.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ..errors import InputError
from .key_table import Row, convert, with_prefix
from .resampling import resample_patches, resample_positions

VIT = 'vit.'
PATCHES = 'backbone.patch_embed.weight'
POSITIONS = 'backbone.positions'
_BLOCK = re.compile(r'vit\.blocks\.(\d+)\.(.*)')
_QKV = ('query', 'key', 'value')
_PROJ = ('q_proj', 'k_proj', 'v_proj')


def blocks(source: str, rows: list[Row]) -> list[Row]:
    """Return rows of all blocks, which the source keeps under a name."""
    return with_prefix(f'{source}.{{i}}.', f'{VIT}blocks.{{i}}.', rows)


# Names that all layouts have in a block.
_NORMS = [Row('norm1.*', 'norm1.*'), Row('norm2.*', 'norm2.*')]
_SCALES = [
    Row('layer_scale1.lambda1', 'scale1'),
    Row('layer_scale2.lambda1', 'scale2'),
]
_MLP = [
    Row('mlp.fc1.*', 'ffn.fc1.*'),
    Row('mlp.fc2.*', 'ffn.fc2.*'),
    # SwiGLU: gate and values as one layer.
    Row('mlp.weights_in.*', 'ffn.fc1.*'),
    Row('mlp.weights_out.*', 'ffn.fc2.*'),
]

# Of Meta's DINOv2 and DINOv3, and of timm.
PLAIN = [
    Row('cls_token', f'{VIT}cls_token'),
    *(
        Row(name, f'{VIT}registers')
        for name in ('reg_token', 'register_tokens', 'storage_tokens')
    ),
    Row('pos_embed', f'{VIT}positions'),
    Row('mask_token', None),
    Row('rope_embed.periods', None),
    Row('patch_embed.proj.*', f'{VIT}patch_embed.*'),
    *blocks(
        'blocks',
        [
            *_NORMS,
            *_MLP,
            Row('mlp.w12.*', 'ffn.fc1.*'),
            Row('mlp.w3.*', 'ffn.fc2.*'),
            Row('attn.qkv.*', 'attn.qkv.*'),
            Row('attn.qkv.bias_mask', None),
            Row('attn.q_bias', 'attn.q_bias'),
            Row('attn.k_bias', None),
            Row('attn.v_bias', 'attn.v_bias'),
            Row('attn.proj.*', 'attn.proj.*'),
            Row('ls1.gamma', 'scale1'),
            Row('ls2.gamma', 'scale2'),
            Row('gamma_1', 'scale1'),
            Row('gamma_2', 'scale2'),
        ],
    ),
    Row('norm.*', f'{VIT}norm.*'),
]

# Of Dinov2Model and Dinov2WithRegistersModel of transformers.
DINOV2 = [
    Row('embeddings.cls_token', f'{VIT}cls_token'),
    Row('embeddings.register_tokens', f'{VIT}registers'),
    Row('embeddings.position_embeddings', f'{VIT}positions'),
    Row('embeddings.mask_token', None),
    Row('embeddings.patch_embeddings.projection.*', f'{VIT}patch_embed.*'),
    *blocks(
        'encoder.layer',
        [
            *_NORMS,
            *_SCALES,
            *_MLP,
            Row('attention.attention.{part}.*', 'attn.qkv.*', parts=_QKV),
            Row('attention.output.dense.*', 'attn.proj.*'),
        ],
    ),
    Row('layernorm.*', f'{VIT}norm.*'),
]

# A block of DINOv3 in transformers, also as tue-mps has it.
DINOV3_BLOCK = [
    *_NORMS,
    *_SCALES,
    Row('attention.{part}.weight', 'attn.qkv.weight', parts=_PROJ),
    Row('attention.q_proj.bias', 'attn.q_bias'),
    Row('attention.v_proj.bias', 'attn.v_bias'),
    Row('attention.o_proj.*', 'attn.proj.*'),
    Row('mlp.up_proj.*', 'ffn.fc1.*'),
    Row('mlp.down_proj.*', 'ffn.fc2.*'),
]


def dinov3(embeddings: str, layers: str) -> list[Row]:
    """Return the table of a DINOv3.

    Args:
        embeddings (str): Name of the module before the blocks.
        layers (str): Name of the blocks.
    """
    return [
        Row(f'{embeddings}.cls_token', f'{VIT}cls_token'),
        Row(f'{embeddings}.register_tokens', f'{VIT}registers'),
        Row(f'{embeddings}.mask_token', None),
        Row(f'{embeddings}.patch_embeddings.*', f'{VIT}patch_embed.*'),
        *blocks(layers, DINOV3_BLOCK),
        Row('norm.*', f'{VIT}norm.*'),
    ]


# A name that only this layout has, and its table.
TABLES = (
    # Of DINOv3ViTModel of transformers.
    ('layer.0.attention.q_proj.weight', dinov3('embeddings', 'layer')),
    ('encoder.layer.0.attention.attention.query.weight', DINOV2),
    ('blocks.0.attn.qkv.weight', PLAIN),
)


def to_whole_vit(
    weights: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Convert the weights of a ViT, as published, to names of ours.

    Args:
        weights (Mapping[str, Tensor]): Without prefixes; a classifier is left
            out.
        source (str): Named in errors.

    Returns:
        dict[str, Tensor]: Entries under ``vit.``.

    Raises:
        InputError: If they are those of no such ViT.
    """
    table = next((own for mark, own in TABLES if mark in weights), None)
    if table is None:
        found = ', '.join(list(weights)[:3]) or 'no tensors'
        raise InputError(
            f'{source} holds no Vision Transformer that is known here '
            '(DINOv2 or DINOv3 of Meta, timm or transformers): found '
            f'{found}.'
        )
    entries = convert(
        {
            name: value
            for name, value in weights.items()
            if not name.startswith(('head.', 'fc_norm.'))
        },
        table,
    )
    return separate_biases(fold_class_position(entries))


def fold_class_position(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the position of the class token, if there is one, to the token."""
    positions = entries.get(f'{VIT}positions')
    if positions is None or is_square(positions.shape[1]):
        return entries
    token = f'{VIT}cls_token'
    return entries | {
        token: entries[token] + positions[:, :1],
        f'{VIT}positions': positions[:, 1:],
    }


def is_square(number: int) -> bool:
    """Whether a number of patches makes a square grid."""
    return round(number**0.5) ** 2 == number


def separate_biases(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a ViT without learned positions biases of queries and values.

    Meta's files of DINOv3 have one of the keys, too, which counts as 0; those
    of timm leave out biases that are all 0.
    """
    if f'{VIT}positions' in entries:
        return entries
    result = dict(entries)
    for name, weight in entries.items():
        if name.endswith('.attn.qkv.weight'):
            attention = name.removesuffix('qkv.weight')
            zeros = weight.new_zeros(len(weight))
            bias = result.pop(f'{attention}qkv.bias', zeros)
            q_bias, _, v_bias = bias.chunk(3)
            result.setdefault(f'{attention}q_bias', q_bias)
            result.setdefault(f'{attention}v_bias', v_bias)
    return result


def divide(entries: Mapping[str, Tensor], num_joint: int) -> dict[str, Tensor]:
    """Name the entries of a whole ViT as backbone and head have them.

    Args:
        entries (Mapping[str, Tensor]): Under ``vit.``; others stay.
        num_joint (int): Blocks that queries join.
    """
    depth = num_blocks(entries)
    result = {}
    for name, value in entries.items():
        if match := _BLOCK.fullmatch(name):
            i = int(match[1]) - (depth - num_joint)
            place = f'panoptic_head.blocks.{i}'
            if i < 0:
                place = f'backbone.blocks.{match[1]}'
            name = f'{place}.{match[2]}'
        elif name.startswith(f'{VIT}norm.'):
            name = name.replace(VIT, 'panoptic_head.')
        elif name.startswith(VIT):
            name = name.replace(VIT, 'backbone.')
        result[name] = value
    return result


def unite(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`divide`."""
    first = len(
        {
            name.split('.')[2]
            for name in entries
            if name.startswith('backbone.blocks.')
        }
    )
    result = {}
    for name, value in entries.items():
        if match := re.fullmatch(r'panoptic_head\.blocks\.(\d+)\.(.*)', name):
            name = f'{VIT}blocks.{first + int(match[1])}.{match[2]}'
        elif name.startswith('panoptic_head.norm.'):
            name = name.replace('panoptic_head.', VIT)
        elif name.startswith('backbone.'):
            name = name.replace('backbone.', VIT, 1)
        result[name] = value
    return result


def num_blocks(names: Iterable[str]) -> int:
    """Return how many blocks a whole ViT has."""
    matches = filter(None, map(_BLOCK.fullmatch, names))
    return 1 + max((int(match[1]) for match in matches), default=-1)


def fit_sizes(
    entries: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Resample patch embedding and positions for a model of other sizes.

    Args:
        entries (Mapping[str, Tensor]): Under our names.
        expected (Mapping[str, Tensor]): Of the model.
    """
    result = dict(entries)
    for name, value in entries.items():
        if name not in expected or value.shape == expected[name].shape:
            continue
        wanted = expected[name].shape
        if name == PATCHES and value.shape[:2] == wanted[:2]:
            result[name] = resample_patches(value, wanted[-1])
        if name == POSITIONS and value.shape[2] == wanted[2]:
            side = round(wanted[1] ** 0.5)
            result[name] = resample_positions(value, (side, side))
    return result
