"""Weights of the OneFormer in Hugging Face's ``transformers``.

The layout of the files under ``shi-labs`` on the Hub, with a Swin or DiNAT
backbone. In memory it has these names before version 5 only.
"""

from collections.abc import Mapping

from torch import Tensor

from .key_table import Row, convert, convert_back, with_prefix

_QKV = ('query', 'key', 'value')


def to_unfold_order(tensor: Tensor) -> Tensor:
    """Reorder the inputs of a patch merging for mmdet's.

    Swin joins the four cells of a 2 x 2 patch column by column, all channels
    of a cell together; mmdet unfolds each channel row by row.

    Args:
        tensor (Tensor): Weights whose last axis has 4 * C entries.

    Returns:
        Tensor: The same shape.
    """
    cells = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return cells.transpose(-1, -2).flatten(-2)


def from_unfold_order(tensor: Tensor) -> Tensor:
    """Undo :func:`to_unfold_order`."""
    cells = tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return cells[..., [0, 2, 1, 3], :].flatten(-2)


_SWIN_BLOCK = with_prefix(
    'encoder.layers.{i}.blocks.{j}.',
    'stages.{i}.blocks.{j}.',
    [
        Row('layernorm_before.*', 'norm1.*'),
        Row('attention.self.{part}.*', 'attn.w_msa.qkv.*', parts=_QKV),
        Row('attention.self.relative_*', 'attn.w_msa.relative_*'),
        Row('attention.output.dense.*', 'attn.w_msa.proj.*'),
        Row('layernorm_after.*', 'norm2.*'),
        Row('intermediate.dense.*', 'ffn.layers.0.0.*'),
        Row('output.dense.*', 'ffn.layers.1.*'),
    ],
)

_SWIN = [
    Row(
        'embeddings.patch_embeddings.projection.*', 'patch_embed.projection.*'
    ),
    Row('embeddings.norm.*', 'patch_embed.norm.*'),
    *_SWIN_BLOCK,
    Row(
        'encoder.layers.{i}.downsample.norm.*',
        'stages.{i}.downsample.norm.*',
        change=to_unfold_order,
        undo=from_unfold_order,
    ),
    Row(
        'encoder.layers.{i}.downsample.reduction.weight',
        'stages.{i}.downsample.reduction.weight',
        change=to_unfold_order,
        undo=from_unfold_order,
    ),
    *(
        Row(f'hidden_states_norms.stage{i + 1}.*', f'norm{i}.*')
        for i in range(4)
    ),
]

# Where it is not among the rows of Swin.
_DINAT = [
    Row(
        'embeddings.patch_embeddings.projection.{i}.*',
        'patch_embed.proj.{i}.*',
    ),
    *with_prefix(
        'encoder.levels.{i}.layers.{j}.',
        'levels.{i}.blocks.{j}.',
        [
            Row('layernorm_before.*', 'norm1.*'),
            Row('attention.self.rpb', 'attn.rpb'),
            Row('attention.self.{part}.*', 'attn.qkv.*', parts=_QKV),
            Row('attention.output.dense.*', 'attn.proj.*'),
            Row('layernorm_after.*', 'norm2.*'),
            Row('intermediate.dense.*', 'mlp.fc1.*'),
            Row('output.dense.*', 'mlp.fc2.*'),
        ],
    ),
    Row(
        'encoder.levels.{i}.downsample.norm.*', 'levels.{i}.downsample.norm.*'
    ),
    Row(
        'encoder.levels.{i}.downsample.reduction.weight',
        'levels.{i}.downsample.reduction.weight',
    ),
]

_PIXEL_DECODER = [
    Row('input_projections.{i}.0.*', 'input_convs.{i}.conv.*'),
    Row('input_projections.{i}.1.*', 'input_convs.{i}.gn.*'),
    Row('level_embed', 'level_encoding.weight'),
    *with_prefix(
        'encoder.layers.{i}.',
        'encoder.layers.{i}.',
        [
            Row(
                'self_attn.sampling_offsets.*', 'self_attn.sampling_offsets.*'
            ),
            Row(
                'self_attn.attention_weights.*',
                'self_attn.attention_weights.*',
            ),
            Row('self_attn.value_proj.*', 'self_attn.value_proj.*'),
            Row('self_attn.output_proj.*', 'self_attn.output_proj.*'),
            Row('self_attn_layer_norm.*', 'norms.0.*'),
            Row('fc1.*', 'ffn.layers.0.0.*'),
            Row('fc2.*', 'ffn.layers.1.*'),
            Row('final_layer_norm.*', 'norms.1.*'),
        ],
    ),
    Row('adapter_1.0.weight', 'lateral_convs.0.conv.weight'),
    Row('adapter_1.1.*', 'lateral_convs.0.gn.*'),
    Row('layer_1.0.weight', 'output_convs.0.conv.weight'),
    Row('layer_1.1.*', 'output_convs.0.gn.*'),
    Row('mask_projection.*', 'mask_feature.*'),
]

_QUERY_INIT = [
    Row('query_input_projection.*', 'input_proj.*'),
    *with_prefix(
        'query_transformer.decoder.layers.{i}.',
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
    Row('query_transformer.decoder.norm.*', 'transformer.post_norm.*'),
]

_DECODER_LAYER = [
    Row('cross_attn.multihead_attn.in_proj_*', 'cross_attn.attn.in_proj_*'),
    Row('cross_attn.multihead_attn.out_proj.*', 'cross_attn.attn.out_proj.*'),
    Row('cross_attn.norm.*', 'norms.0.*'),
    Row(
        'self_attn.self_attn.{part}.*',
        'self_attn.attn.in_proj_*',
        parts=('q_proj', 'k_proj', 'v_proj'),
    ),
    Row('self_attn.self_attn.out_proj.*', 'self_attn.attn.out_proj.*'),
    Row('self_attn.norm.*', 'norms.1.*'),
    Row('ffn.linear1.*', 'ffn.layers.0.0.*'),
    Row('ffn.linear2.*', 'ffn.layers.1.*'),
    Row('ffn.norm.*', 'norms.2.*'),
]

_TRANSFORMER = [
    Row('queries_embedder.weight', 'query_embed.weight'),
    Row('level_embed.weight', 'level_embed.weight'),
    *with_prefix('decoder.', 'query_init.', _QUERY_INIT),
    *with_prefix('decoder.layers.{i}.', 'decoder.layers.{i}.', _DECODER_LAYER),
    Row('decoder.decoder_norm.*', 'decoder.post_norm.*'),
    Row('decoder.class_embed.*', 'cls_embed.*'),
    # Ours has the activations among the layers.
    *(
        Row(f'decoder.mask_embed.layers.{i}.0.*', f'mask_embed.{2 * i}.*')
        for i in range(3)
    ),
]

# Only in models built for training; no file on the Hub has it.
_TEXT_MAPPER = [
    Row(
        'text_encoder.token_embedding.weight', 'encoder.token_embedding.weight'
    ),
    Row('text_encoder.positional_embedding', 'encoder.positional_embedding'),
    *with_prefix(
        'text_encoder.transformer.layers.{i}.',
        'encoder.layers.{i}.',
        [
            Row('layer_norm1.*', 'norm1.*'),
            Row('self_attn.in_proj_*', 'attn.in_proj_*'),
            Row('self_attn.out_proj.*', 'attn.out_proj.*'),
            Row('layer_norm2.*', 'norm2.*'),
            Row('mlp.fc1.*', 'fc1.*'),
            Row('mlp.fc2.*', 'fc2.*'),
        ],
    ),
    Row('text_encoder.ln_final.*', 'encoder.final_norm.*'),
    Row('text_projector.layers.{i}.0.*', 'projector.{i}.*'),
    Row('prompt_ctx.weight', 'context.weight'),
]

TABLE = [
    *with_prefix('pixel_level_module.encoder.', 'backbone.', _SWIN + _DINAT),
    *with_prefix(
        'pixel_level_module.decoder.',
        'panoptic_head.pixel_decoder.',
        _PIXEL_DECODER,
    ),
    *with_prefix('transformer_module.', 'panoptic_head.', _TRANSFORMER),
    Row(
        'task_encoder.task_mlp.layers.{i}.0.*',
        'panoptic_head.task_token.layers.{i}.*',
    ),
    *with_prefix('text_mapper.', 'panoptic_head.text_mapper.', _TEXT_MAPPER),
    Row(
        'criterion.logit_scale',
        'panoptic_head.contrastive_loss.logit_scale',
        change=Tensor.float,
        undo=Tensor.double,
    ),
    Row('criterion.empty_weight', None),  # a setting of the criterion
]


def from_huggingface(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a state dict of ``OneFormerForUniversalSegmentation``.

    A state dict of ``OneFormerModel``, whose names lack ``model.``, is
    accepted too. Files on the Hub hold no text branch: they fill an inference
    model, and a training model except for ``text_mapper``.

    Args:
        state_dict (Mapping[str, Tensor]): Entries as in the file.

    Returns:
        dict[str, Tensor]: The entries of ``OneFormer`` with mmdet's
        ``SwinTransformer`` or with ``DiNAT``.

    Raises:
        ValueError: If there are entries of another model, or missing ones.
    """
    return convert(state_dict, TABLE, optional_prefix='model.')


def to_huggingface(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert ours for ``OneFormerForUniversalSegmentation``.

    Args:
        state_dict (Mapping[str, Tensor]): Entries of ``OneFormer``.

    Returns:
        dict[str, Tensor]: The entries as in the file; the text branch too, if
        there is one, which that implementation computes differently.

    Raises:
        ValueError: If the backbone is neither Swin nor DiNAT.
    """
    return {
        name if name.startswith('criterion.') else f'model.{name}': tensor
        for name, tensor in convert_back(state_dict, TABLE).items()
    }
