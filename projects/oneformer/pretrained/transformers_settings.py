"""Settings of a OneFormer of ``transformers``, in our terms.

The way back is ``weights/huggingface_folder.py``.
"""

from pathlib import Path

from ..errors import InputError
from .published import published_settings
from .settings import Settings, read_object_file
from .transformers_files import (
    check_fixed,
    class_names,
    colour_values,
    image_steps,
    positive_number,
    read_processor,
    thing_classes,
    whole_number,
    whole_numbers,
)

STAGES = ['stage1', 'stage2', 'stage3', 'stage4']
# What our modules have built in. A folder that says otherwise is refused.
FIXED = dict(
    norm='GN',
    strides=[4, 8, 16, 32],
    common_stride=4,
    task_seq_len=77,
    pre_norm=False,
    enforce_input_proj=False,
    use_task_norm=True,
    layer_norm_eps=1e-5,
)
FIXED_BACKBONE = dict(
    swin=dict(
        patch_size=4,
        use_absolute_embeddings=False,
        qkv_bias=True,
        hidden_act='gelu',
        out_features=STAGES,
    ),
    dinat=dict(
        patch_size=4,
        qkv_bias=True,
        layer_scale_init_value=0.0,
        hidden_act='gelu',
        out_features=STAGES,
    ),
)


def transformers_settings(folder: Path) -> Settings:
    """Return the settings that a folder of transformers stands for.

    ``config.json`` gives the network and ``preprocessor_config.json`` the
    size, the normalisation and the things. Thresholds of the panoptic result
    are in none of its files: where the classes are those of a data set of the
    paper, they are the published ones, else our defaults.

    Raises:
        InputError: If it is no OneFormer, or one that this package cannot
            build. The message says what is expected.
    """
    path = folder / 'config.json'
    values = read_object_file(path)
    if values.get('model_type') != 'oneformer':
        raise InputError(
            f'{path} is of a model of type {values.get("model_type")!r}, '
            'expected a OneFormer: a folder of this package, or one of '
            'transformers with "model_type": "oneformer".'
        )
    check_fixed(values, FIXED, path)
    classes = class_names(values, path)
    processor = read_processor(folder)
    things = thing_classes(folder, processor, classes)
    known = published_settings(classes)
    return Settings(
        model=_model(values, processor, known, path),
        test_pipeline=_test_pipeline(processor),
        classes=classes,
        thing_classes=things,
    )


def _model(values: dict, processor: dict, known: dict, path: Path) -> dict:
    width = whole_number(values, 'hidden_dim', 256, path)
    for key in ('conv_dim', 'mask_dim'):
        check_fixed(values, {key: width}, path)
    heads = whole_number(values, 'num_attention_heads', 8, path)
    queries = whole_number(values, 'num_queries', 150, path)
    channels = whole_number(values, 'dim_feedforward', 2048, path)
    attention = dict(embed_dims=width, num_heads=heads, batch_first=True)
    backbone = _backbone(values, path)
    decoder_layers = whole_number(values, 'decoder_layers', 10, path) - 1

    def feed_forward(channels: int) -> dict:
        return dict(
            embed_dims=width,
            feedforward_channels=channels,
            num_fcs=2,
            act_cfg=dict(type='ReLU', inplace=True),
        )

    layer = dict(
        self_attn_cfg=attention,
        cross_attn_cfg=attention,
        ffn_cfg=feed_forward(channels),
    )
    encoder_layer = dict(
        self_attn_cfg=dict(attention, num_levels=3, num_points=4),
        ffn_cfg=feed_forward(
            whole_number(values, 'encoder_feedforward_dim', 1024, path)
        ),
    )
    head = dict(
        type='OneFormerHead',
        in_channels=[backbone['embed_dims'] * 2**i for i in range(4)],
        feat_channels=width,
        num_queries=queries,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=whole_number(values, 'encoder_layers', 6, path),
                layer_cfg=encoder_layer,
            ),
            positional_encoding=dict(num_feats=width // 2, normalize=True),
        ),
        task_token=dict(
            type='TaskToken', tokenizer=dict(type='CLIPTokenizer')
        ),
        query_init=dict(
            type='QueryInit',
            transformer=dict(
                num_layers=whole_number(values, 'query_dec_layers', 2, path),
                layer_cfg=layer,
            ),
        ),
        transformer_decoder=dict(num_layers=decoder_layers, layer_cfg=layer),
    )
    return dict(
        type='OneFormer',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=colour_values(processor, 'image_mean'),
            std=colour_values(processor, 'image_std'),
            bgr_to_rgb=True,
            pad_size_divisor=32,
            pad_mask=True,
            mask_pad_value=0,
        ),
        backbone=backbone,
        panoptic_head=head,
        panoptic_fusion_head=dict(type='OneFormerFusionHead'),
        test_cfg=known.get('test_cfg', {}),
    )


def _backbone(values: dict, path: Path) -> dict:
    """Return the config of the backbone."""
    # Before there were other backbones, none meant Swin-T.
    own = values.get('backbone_config') or dict(model_type='swin')
    kind = own.get('model_type') if isinstance(own, dict) else None
    if kind not in FIXED_BACKBONE or values.get('use_timm_backbone'):
        raise InputError(
            f'{path} has a backbone {kind or values.get("backbone")!r}: '
            'OneFormer of transformers is read with swin and dinat.'
        )
    place = f'{path}, backbone_config'
    check_fixed(own, FIXED_BACKBONE[kind], place)
    swin = kind == 'swin'
    shared = dict(
        type='SwinTransformer' if swin else 'DiNAT',
        embed_dims=whole_number(own, 'embed_dim', 96 if swin else 64, place),
        depths=whole_numbers(
            own, 'depths', [2, 2, 6, 2] if swin else None, place
        ),
        num_heads=whole_numbers(
            own, 'num_heads', [3, 6, 12, 24] if swin else None, place
        ),
        mlp_ratio=positive_number(
            own, 'mlp_ratio', 4.0 if swin else 3.0, place
        ),
    )
    if swin:
        return dict(
            shared, window_size=whole_number(own, 'window_size', 7, place)
        )
    dilations = own.get('dilations')
    if not isinstance(dilations, list) or len(dilations) != 4:
        raise InputError(f'{place}: expected dilations of four stages.')
    stages = [
        whole_numbers(
            dict(dilations=stage), 'dilations', None, place, length=None
        )
        for stage in dilations
    ]
    return dict(
        shared,
        kernel_size=whole_number(own, 'kernel_size', 7, place),
        dilations=tuple(stages),
    )


def _test_pipeline(processor: dict) -> list[dict]:
    """Return the steps that prepare an image as the processor does."""
    size, long = processor.get('size', 800), processor.get('max_size', 1333)
    if isinstance(size, int):  # as older versions wrote it
        size = dict(shortest_edge=size, longest_edge=long)
    keys = ('shortest_edge', 'longest_edge')
    keep_ratio = isinstance(size, dict) and 'shortest_edge' in size
    if not keep_ratio:
        keys = ('height', 'width')
    if not isinstance(size, dict) or not all(
        type(size.get(key, long)) is int for key in keys
    ):
        raise InputError(
            f'{processor["path"]}: expected a size with shortest_edge and '
            f'longest_edge, or with height and width, got {size!r}.'
        )
    short, long = (size.get(key, long) for key in keys)
    return image_steps((long, short), keep_ratio)
