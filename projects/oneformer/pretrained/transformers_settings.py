"""Settings of a model folder of ``transformers``, in our terms.

The way back is ``weights/huggingface_folder.py``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .published import published_settings
from .settings import Settings, read_object_file

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
    if values.get('model_type') == 'eomt':
        raise InputError(
            f'{folder} is an EoMT, whose files do not say which classes are '
            'things: give its config as well, such as '
            "from_pretrained(folder, config='eomt-l_coco'), or the config "
            'and --weights on the command line.'
        )
    if values.get('model_type') != 'oneformer':
        raise InputError(
            f'{path} is of a model of type {values.get("model_type")!r}, '
            'expected a OneFormer: a folder of this package, or one of '
            'transformers with "model_type": "oneformer".'
        )
    _check_fixed(values, FIXED, path)
    classes = _classes(values, path)
    processor = _processor(folder)
    things = _thing_classes(folder, processor, classes)
    known = published_settings(classes)
    return Settings(
        model=_model(values, processor, known, path),
        test_pipeline=_test_pipeline(processor),
        classes=classes,
        thing_classes=things,
    )


def _model(values: dict, processor: dict, known: dict, path: Path) -> dict:
    width = _whole(values, 'hidden_dim', 256, path)
    for key in ('conv_dim', 'mask_dim'):
        _check_fixed(values, {key: width}, path)
    heads = _whole(values, 'num_attention_heads', 8, path)
    queries = _whole(values, 'num_queries', 150, path)
    channels = _whole(values, 'dim_feedforward', 2048, path)
    attention = dict(embed_dims=width, num_heads=heads, batch_first=True)
    backbone = _backbone(values, path)
    decoder_layers = _whole(values, 'decoder_layers', 10, path) - 1

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
            _whole(values, 'encoder_feedforward_dim', 1024, path)
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
                num_layers=_whole(values, 'encoder_layers', 6, path),
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
                num_layers=_whole(values, 'query_dec_layers', 2, path),
                layer_cfg=layer,
            ),
        ),
        transformer_decoder=dict(num_layers=decoder_layers, layer_cfg=layer),
    )
    return dict(
        type='OneFormer',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=_scaled(processor, 'image_mean'),
            std=_scaled(processor, 'image_std'),
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
    _check_fixed(own, FIXED_BACKBONE[kind], place)
    swin = kind == 'swin'
    shared = dict(
        type='SwinTransformer' if swin else 'DiNAT',
        embed_dims=_whole(own, 'embed_dim', 96 if swin else 64, place),
        depths=_numbers(own, 'depths', [2, 2, 6, 2] if swin else None, place),
        num_heads=_numbers(
            own, 'num_heads', [3, 6, 12, 24] if swin else None, place
        ),
        mlp_ratio=_number(own, 'mlp_ratio', 4.0 if swin else 3.0, place),
    )
    if swin:
        return dict(shared, window_size=_whole(own, 'window_size', 7, place))
    dilations = own.get('dilations')
    if not isinstance(dilations, list) or len(dilations) != 4:
        raise InputError(f'{place}: expected dilations of four stages.')
    stages = [
        _numbers(dict(dilations=stage), 'dilations', None, place, length=None)
        for stage in dilations
    ]
    return dict(
        shared,
        kernel_size=_whole(own, 'kernel_size', 7, place),
        dilations=tuple(stages),
    )


def _processor(folder: Path) -> dict:
    path = folder / 'preprocessor_config.json'
    if not path.is_file():
        raise InputError(
            f'{folder} has no preprocessor_config.json, which gives image '
            'size, normalisation and things: download the whole folder.'
        )
    return dict(read_object_file(path), path=path)


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
    return [
        dict(type='LoadImageFromFile', _scope_='projects.oneformer'),
        dict(
            type='Resize',
            scale=(long, short),
            keep_ratio=keep_ratio,
            backend='pillow',
        ),
        dict(
            type='PackDetInputs',
            meta_keys=(
                *('img_id', 'img_path', 'ori_shape'),
                *('img_shape', 'scale_factor'),
            ),
        ),
    ]


def _classes(values: dict, path: Path) -> tuple[str, ...]:
    names = values.get('id2label')
    if (
        not isinstance(names, dict)
        or set(names) != {str(label) for label in range(len(names))}
        or not names
    ):
        raise InputError(
            f'{path}: expected id2label to name the classes of labels 0 to '
            'N - 1.'
        )
    return tuple(str(names[str(label)]) for label in range(len(names)))


def _thing_classes(
    folder: Path, processor: dict, classes: Sequence[str]
) -> tuple[str, ...]:
    """Return the things, from whichever file of the folder names them."""
    labels = _labels_of_things(folder, processor)
    if labels is None:
        things = published_settings(classes).get('thing_classes')
        if things is not None:
            return things
        raise InputError(
            f'{folder} does not say which classes are things: expected '
            'thing_ids under metadata of preprocessor_config.json, or the '
            f'file {processor.get("class_info_file")!r} in the folder.'
        )
    if not all(type(i) is int and 0 <= i < len(classes) for i in labels):
        raise InputError(
            f'{folder} names the labels {labels} as things: expected numbers '
            f'from 0 to {len(classes) - 1}.'
        )
    return tuple(classes[label] for label in labels)


def _labels_of_things(folder: Path, processor: dict) -> list | None:
    metadata = processor.get('metadata')
    if isinstance(metadata, dict) and isinstance(
        metadata.get('thing_ids'), list
    ):
        return metadata['thing_ids']
    file = processor.get('class_info_file')
    # A name alone: the file is read from this folder and from no other place.
    if not isinstance(file, str) or Path(file).name != file:
        return None
    if not (folder / file).is_file():
        return None
    info = read_object_file(folder / file)
    try:
        return [int(i) for i, entry in info.items() if entry['isthing']]
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f'{folder / file}: expected name and isthing for each label.'
        ) from error


def _check_fixed(values: dict, fixed: Mapping, path: Path | str) -> None:
    for key, expected in fixed.items():
        found = values.get(key, expected)
        if found != expected:
            raise InputError(
                f'{path}: {key} is {json.dumps(found)}, this package has '
                f'OneFormer with {json.dumps(expected)} only.'
            )


def _whole(values: dict, key: str, default: int, path: Path | str) -> int:
    value = values.get(key, default)
    if type(value) is not int or value < 1:
        raise InputError(
            f'{path}: expected a whole number of 1 or more as {key}, got '
            f'{value!r}.'
        )
    return value


def _number(values: dict, key: str, default: float, path: Path | str) -> float:
    value = values.get(key, default)
    if type(value) not in (int, float) or not value > 0:
        raise InputError(
            f'{path}: expected a positive number as {key}, got {value!r}.'
        )
    return value


def _numbers(
    values: dict,
    key: str,
    default: list | None,
    path: Path | str,
    length: int | None = 4,
) -> tuple[int, ...]:
    numbers: Any = values.get(key, default)
    if (
        not isinstance(numbers, list)
        or (length is not None and len(numbers) != length)
        or not all(type(entry) is int and entry > 0 for entry in numbers)
    ):
        raise InputError(
            f'{path}: expected whole numbers as {key}, one for each stage, '
            f'got {numbers!r}.'
        )
    return tuple(numbers)


def _scaled(processor: dict, key: str) -> list[float]:
    """Return mean or deviation of the colours on the scale of 0 to 255."""
    values = processor.get(key)
    if (
        not isinstance(values, list)
        or len(values) != 3
        or not all(type(value) in (int, float) for value in values)
    ):
        raise InputError(
            f'{processor["path"]}: expected three numbers as {key}, got '
            f'{values!r}.'
        )
    # Written as thousandths of the published values over 255.
    return [round(value * 255, 3) for value in values]
