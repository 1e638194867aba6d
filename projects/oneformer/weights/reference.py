"""Weights of the reference implementation, SHI-Labs/OneFormer.

The layout of the published ``.pth`` files and of detectron2's ``.pkl``, with
every backbone of the paper.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .huggingface import from_unfold_order, to_unfold_order
from .key_table import Row, convert, convert_back, with_prefix

_SWIN = [
    Row('patch_embed.proj.*', 'patch_embed.projection.*'),
    Row('patch_embed.norm.*', 'patch_embed.norm.*'),
    *with_prefix(
        'layers.{i}.blocks.{j}.',
        'stages.{i}.blocks.{j}.',
        [
            Row('norm1.*', 'norm1.*'),
            Row('attn.qkv.*', 'attn.w_msa.qkv.*'),
            Row('attn.relative_*', 'attn.w_msa.relative_*'),
            Row('attn.proj.*', 'attn.w_msa.proj.*'),
            Row('norm2.*', 'norm2.*'),
            Row('mlp.fc1.*', 'ffn.layers.0.0.*'),
            Row('mlp.fc2.*', 'ffn.layers.1.*'),
        ],
    ),
    *(
        Row(
            f'layers.{{i}}.downsample.{name}',
            f'stages.{{i}}.downsample.{name}',
            change=to_unfold_order,
            undo=from_unfold_order,
        )
        for name in ('norm.*', 'reduction.weight')
    ),
    Row('norm{i}.*', 'norm{i}.*'),
]

# The patches' norm and the norms of the outputs are among the rows of Swin.
_DINAT = [
    Row(name, name)
    for name in (
        'patch_embed.proj.{i}.*',
        *(
            f'levels.{{i}}.blocks.{{j}}.{part}'
            for part in (
                *('norm1.*', 'norm2.*', 'attn.rpb', 'attn.qkv.*'),
                *('attn.proj.*', 'mlp.fc1.*', 'mlp.fc2.*'),
            )
        ),
        'levels.{i}.downsample.norm.*',
        'levels.{i}.downsample.reduction.weight',
    )
]

_CONVNEXT = [
    Row('downsample_layers.{i}.{j}.*', 'downsample_layers.{i}.{j}.*'),
    *with_prefix(
        'stages.{i}.{j}.',
        'stages.{i}.{j}.',
        [
            Row('gamma', 'gamma'),
            Row('dwconv.*', 'depthwise_conv.*'),
            Row('norm.*', 'norm.*'),
            Row('pwconv1.*', 'pointwise_conv1.*'),
            Row('pwconv2.*', 'pointwise_conv2.*'),
        ],
    ),
]

_RESNET = [
    Row('stem.conv1.weight', 'conv1.weight'),
    Row('stem.conv1.norm.*', 'bn1.*'),
    *(
        row
        for stage in range(1, 5)
        for row in with_prefix(
            f'res{stage + 1}.{{j}}.',
            f'layer{stage}.{{j}}.',
            [
                *(
                    Row(f'conv{k}.weight', f'conv{k}.weight')
                    for k in (1, 2, 3)
                ),
                *(Row(f'conv{k}.norm.*', f'bn{k}.*') for k in (1, 2, 3)),
                Row('shortcut.weight', 'downsample.0.weight'),
                Row('shortcut.norm.*', 'downsample.1.*'),
            ],
        )
    ),
]

_PIXEL_DECODER = [
    Row('input_proj.{i}.0.*', 'input_convs.{i}.conv.*'),
    Row('input_proj.{i}.1.*', 'input_convs.{i}.gn.*'),
    Row('transformer.level_embed', 'level_encoding.weight'),
    *with_prefix(
        'transformer.encoder.layers.{i}.',
        'encoder.layers.{i}.',
        [
            *(
                Row(f'self_attn.{name}.*', f'self_attn.{name}.*')
                for name in (
                    *('sampling_offsets', 'attention_weights'),
                    *('value_proj', 'output_proj'),
                )
            ),
            Row('norm1.*', 'norms.0.*'),
            Row('linear1.*', 'ffn.layers.0.0.*'),
            Row('linear2.*', 'ffn.layers.1.*'),
            Row('norm2.*', 'norms.1.*'),
        ],
    ),
    Row('adapter_1.weight', 'lateral_convs.0.conv.weight'),
    Row('adapter_1.norm.*', 'lateral_convs.0.gn.*'),
    Row('layer_1.weight', 'output_convs.0.conv.weight'),
    Row('layer_1.norm.*', 'output_convs.0.gn.*'),
    Row('mask_features.*', 'mask_feature.*'),
]

_QUERY_INIT = [
    Row('class_input_proj.*', 'input_proj.*'),
    *with_prefix(
        'class_transformer.decoder.layers.{i}.',
        'transformer.layers.{i}.',
        [
            Row('self_attn.in_proj_*', 'self_attn.attn.in_proj_*'),
            Row('self_attn.out_proj.*', 'self_attn.attn.out_proj.*'),
            Row('norm1.*', 'norms.0.*'),
            Row('multihead_attn.in_proj_*', 'cross_attn.attn.in_proj_*'),
            Row('multihead_attn.out_proj.*', 'cross_attn.attn.out_proj.*'),
            Row('norm2.*', 'norms.1.*'),
            Row('linear1.*', 'ffn.layers.0.0.*'),
            Row('linear2.*', 'ffn.layers.1.*'),
            Row('norm3.*', 'norms.2.*'),
        ],
    ),
    Row('class_transformer.decoder.norm.*', 'transformer.post_norm.*'),
]


def _decoder(source: str, rows: list[Row]) -> list[Row]:
    """Return rows of a list of layers that holds one part of each layer."""
    return with_prefix(f'{source}.{{i}}.', 'decoder.layers.{i}.', rows)


_PREDICTOR = [
    Row('query_embed.weight', 'query_embed.weight'),
    Row('level_embed.weight', 'level_embed.weight'),
    *with_prefix('', 'query_init.', _QUERY_INIT),
    *_decoder(
        'transformer_cross_attention_layers',
        [
            Row('multihead_attn.in_proj_*', 'cross_attn.attn.in_proj_*'),
            Row('multihead_attn.out_proj.*', 'cross_attn.attn.out_proj.*'),
            Row('norm.*', 'norms.0.*'),
        ],
    ),
    *_decoder(
        'transformer_self_attention_layers',
        [
            Row('self_attn.in_proj_*', 'self_attn.attn.in_proj_*'),
            Row('self_attn.out_proj.*', 'self_attn.attn.out_proj.*'),
            Row('norm.*', 'norms.1.*'),
        ],
    ),
    *_decoder(
        'transformer_ffn_layers',
        [
            Row('linear1.*', 'ffn.layers.0.0.*'),
            Row('linear2.*', 'ffn.layers.1.*'),
            Row('norm.*', 'norms.2.*'),
        ],
    ),
    Row('decoder_norm.*', 'decoder.post_norm.*'),
    Row('class_embed.*', 'cls_embed.*'),
    # Ours has the activations among the layers.
    *(
        Row(f'mask_embed.layers.{i}.*', f'mask_embed.{2 * i}.*')
        for i in range(3)
    ),
]

_TEXT_MAPPER = [
    Row(
        'text_encoder.token_embedding.weight', 'encoder.token_embedding.weight'
    ),
    Row('text_encoder.positional_embedding', 'encoder.positional_embedding'),
    *with_prefix(
        'text_encoder.transformer.resblocks.{i}.',
        'encoder.layers.{i}.',
        [
            Row('ln_1.*', 'norm1.*'),
            Row('attn.in_proj_*', 'attn.in_proj_*'),
            Row('attn.out_proj.*', 'attn.out_proj.*'),
            Row('ln_2.*', 'norm2.*'),
            Row('mlp.c_fc.*', 'fc1.*'),
            Row('mlp.c_proj.*', 'fc2.*'),
        ],
    ),
    Row('text_encoder.ln_final.*', 'encoder.final_norm.*'),
    Row('text_projector.layers.{i}.*', 'projector.{i}.*'),
    Row('prompt_ctx.weight', 'context.weight'),
]

TABLE = [
    *with_prefix(
        'backbone.', 'backbone.', _SWIN + _DINAT + _CONVNEXT + _RESNET
    ),
    *with_prefix(
        'sem_seg_head.pixel_decoder.',
        'panoptic_head.pixel_decoder.',
        _PIXEL_DECODER,
    ),
    *with_prefix('sem_seg_head.predictor.', 'panoptic_head.', _PREDICTOR),
    Row('task_mlp.layers.{i}.*', 'panoptic_head.task_token.layers.{i}.*'),
    *with_prefix('', 'panoptic_head.text_mapper.', _TEXT_MAPPER),
    Row('criterion.logit_scale', 'panoptic_head.contrastive_loss.logit_scale'),
    Row('criterion.empty_weight', None),  # a setting of the criterion
]


def from_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a state dict of the reference.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as in the file, with or
            without the text branch.

    Returns:
        dict[str, Tensor]: The entries of ``OneFormer`` with mmdet's
        ``ResNet`` or ``SwinTransformer``, mmpretrain's ``ConvNeXt`` or with
        ``DiNAT``.

    Raises:
        ValueError: If there are entries of another model, or missing ones.
    """
    return convert(state_dict, TABLE)


def to_reference(
    state_dict: Mapping[str, Tensor], no_object_weight: float = 0.1
) -> dict[str, Tensor]:
    """Convert ours into the layout of the reference.

    Args:
        state_dict (Mapping[str, Tensor]): Entries of ``OneFormer``.
        no_object_weight (float): Weight of "no object" in the class loss,
            which the reference keeps among its entries.

    Returns:
        dict[str, Tensor]: Entries under the names of the reference. Counters
        of norms that never counted, as frozen ones, are left out.

    Raises:
        ValueError: If the backbone is not one of the paper.
    """
    converted = convert_back(
        {
            name: tensor
            for name, tensor in state_dict.items()
            if not (name.endswith('.num_batches_tracked') and tensor == 0)
        },
        TABLE,
    )
    bias = state_dict['panoptic_head.cls_embed.bias']
    class_weights = torch.ones_like(bias)
    class_weights[-1] = no_object_weight
    return converted | {'criterion.empty_weight': class_weights}
