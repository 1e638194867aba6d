"""Write a folder that ``transformers`` loads, network and processor."""

import json
from collections.abc import Mapping
from inspect import signature
from os import PathLike
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor

from ..errors import InputError
from ..file_writing import new_folder
from ..text.tokenizer import CLIPTokenizer, written_vocabulary
from . import eomt_folder
from .eomt import to_transformers_eomt
from .huggingface import to_huggingface

# Of a training checkpoint, in the layout of transformers; files on the Hub
# have none of it, and the text encoder there is another.
TRAINING_PARTS = ('model.text_mapper.', 'criterion.')
CLASS_FILE = 'class_info.json'


def save_huggingface_folder(
    config: Config, state_dict: Mapping[str, Tensor], folder: str | PathLike
) -> None:
    """Write weights and settings as ``save_pretrained`` would.

    The image processor of transformers looks for the class names in
    ``repo_path``, which is set to ``folder``. After moving the folder give
    the new place: ``from_pretrained(folder, repo_path=folder)``.

    Args:
        config (Config): Config of the model, as under ``configs/``.
        state_dict (Mapping[str, Tensor]): Weights of the model.
        folder (str | PathLike): Folder to create. It appears only when it
            is complete.

    Raises:
        FileExistsError: If the folder exists.
        InputError: If transformers has no such model.
    """
    from safetensors.torch import save_file

    folder = Path(folder).absolute()
    if folder.exists():
        raise FileExistsError(f'{folder} exists: name a new folder.')
    if config.model.panoptic_head.type.rpartition('.')[-1] == 'EoMTHead':
        # First, as it refuses what transformers does not have.
        files: dict[str, dict | str] = {**eomt_folder.files_of(config)}
        weights = to_transformers_eomt(state_dict)
    else:
        weights = {
            name: tensor
            for name, tensor in to_huggingface(state_dict).items()
            if not name.startswith(TRAINING_PARTS)
        }
        files = {
            'config.json': model_settings(config),
            'preprocessor_config.json': image_settings(config, folder),
            CLASS_FILE: class_info(config.model.metainfo),
            **tokenizer_files(),
        }
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    with new_folder(folder) as partial:
        save_file(
            weights, partial / 'model.safetensors', metadata=dict(format='pt')
        )
        for name, content in files.items():
            text = (
                content
                if isinstance(content, str)
                else json.dumps(content, indent=2)
            )
            (partial / name).write_text(text + '\n', encoding='utf-8')


def model_settings(config: Config) -> dict:
    """Return what ``OneFormerConfig`` reads."""
    model = config.model
    head = model.panoptic_head
    pixel_encoder = head.pixel_decoder.encoder
    if head.query_init.get('learned_features', False):
        raise InputError(
            'The OneFormer of transformers has no learned features of '
            'queries: only a model without query_init.learned_features can '
            'be written for it.'
        )
    query_init = head.query_init.transformer
    names = dict(enumerate(model.metainfo.classes))
    settings = dict(
        architectures=['OneFormerForUniversalSegmentation'],
        model_type='oneformer',
        backbone_config=backbone_settings(model.backbone),
        id2label={str(i): name for i, name in names.items()},
        label2id={name: i for i, name in names.items()},
        num_queries=head.num_queries,
        conv_dim=head.feat_channels,
        mask_dim=head.feat_channels,
        hidden_dim=head.feat_channels,
        num_attention_heads=(
            head.transformer_decoder.layer_cfg.cross_attn_cfg.num_heads
        ),
        encoder_layers=pixel_encoder.num_layers,
        encoder_feedforward_dim=(
            pixel_encoder.layer_cfg.ffn_cfg.feedforward_channels
        ),
        decoder_layers=head.transformer_decoder.num_layers + 1,
        query_dec_layers=query_init.num_layers,
        dim_feedforward=query_init.layer_cfg.ffn_cfg.feedforward_channels,
        dropout=pixel_encoder.layer_cfg.self_attn_cfg.dropout,
        is_training=False,
    )
    training = model.get('train_cfg')
    if training:
        text_mapper, criterion = training.text_mapper, training.criterion
        settings |= dict(
            text_encoder_width=head.feat_channels,
            text_encoder_num_layers=text_mapper.num_layers,
            text_encoder_n_ctx=text_mapper.num_context,
            contrastive_weight=training.contrastive_loss.loss_weight,
            contrastive_temperature=training.contrastive_loss.temperature,
            class_weight=criterion.loss_cls.loss_weight,
            mask_weight=criterion.loss_mask.loss_weight,
            dice_weight=criterion.loss_dice.loss_weight,
            train_num_points=criterion.num_points,
        )
    return settings


def backbone_settings(backbone: ConfigDict) -> dict:
    """Return what ``SwinConfig`` or ``DinatConfig`` reads.

    Raises:
        InputError: If it is another backbone.
    """
    kind = backbone.type.rpartition('.')[-1]
    if kind not in ('SwinTransformer', 'DiNAT'):
        raise InputError(
            f'The OneFormer of transformers has no backbone {kind}, only '
            'SwinTransformer and DiNAT.'
        )
    shared = dict(
        embed_dim=backbone.embed_dims,
        depths=list(backbone.depths),
        num_heads=list(backbone.num_heads),
        mlp_ratio=_setting(backbone, 'mlp_ratio'),
        qkv_bias=True,
        drop_path_rate=_setting(backbone, 'drop_path_rate'),
        out_features=[f'stage{i}' for i in range(1, 5)],
    )
    if kind == 'SwinTransformer':
        return dict(
            shared, model_type='swin', window_size=backbone.window_size
        )
    return dict(
        shared,
        model_type='dinat',
        kernel_size=backbone.kernel_size,
        dilations=[list(stage) for stage in backbone.dilations],
    )


def _setting(config: ConfigDict, name: str):
    """Return a setting, or the default of the class that it belongs to."""
    if name in config:
        return config[name]
    return signature(MODELS.get(config.type)).parameters[name].default


def image_settings(config: Config, folder: Path) -> dict:
    """Return what ``OneFormerImageProcessor`` reads."""
    preprocessor = config.model.data_preprocessor
    training = config.model.get('train_cfg')
    num_context = training.text_mapper.num_context if training else 16
    return dict(
        image_processor_type='OneFormerImageProcessor',
        processor_class='OneFormerProcessor',
        size=processor_size(config),
        image_mean=[value / 255 for value in preprocessor.mean],
        image_std=[value / 255 for value in preprocessor.std],
        ignore_index=255,
        class_info_file=CLASS_FILE,
        repo_path=str(folder),
        num_text=config.model.panoptic_head.num_queries - num_context,
        max_seq_length=CLIPTokenizer().context_length,
        task_seq_length=CLIPTokenizer().context_length,
    )


def processor_size(config: Config) -> dict[str, int]:
    """Return the size of test images as ``OneFormerImageProcessor`` has it.

    Our ``Resize`` rounds sides, the processor cuts off their fractions, so
    that a side may be one pixel shorter there. The processor also refuses
    equal limits of both sides; with a limit one pixel lower for the short
    side only square images come out smaller, by that pixel.

    Raises:
        InputError: If the test pipeline has no ``Resize`` to a size.
    """
    for step in config.test_dataloader.dataset.pipeline:
        if step.type.rpartition('.')[-1] == 'Resize' and step.get('scale'):
            break
    else:
        raise InputError(
            'Expected a Resize with a scale in the test pipeline of the '
            'config, which says what size images are resized to.'
        )
    scale = step.scale
    width, height = (scale, scale) if isinstance(scale, int) else scale
    if not step.get('keep_ratio', False):
        return dict(height=height, width=width)
    short, long = sorted((width, height))
    return dict(shortest_edge=min(short, long - 1), longest_edge=long)


def class_info(metainfo: dict) -> dict[str, dict]:
    """Return names and kinds of the classes by label."""
    return {
        str(i): dict(name=name, isthing=int(name in metainfo['thing_classes']))
        for i, name in enumerate(metainfo['classes'])
    }


def tokenizer_files() -> dict[str, dict | str]:
    """Return the files that ``CLIPTokenizer`` of transformers reads."""
    tokens, merges = written_vocabulary()
    start, end = tokens[-2:]
    special = dict(
        bos_token=start, eos_token=end, unk_token=end, pad_token=end
    )
    return {
        'vocab.json': {token: i for i, token in enumerate(tokens)},
        'merges.txt': '\n'.join(['#version: 0.2', *merges]),
        'special_tokens_map.json': special,
        'tokenizer_config.json': dict(
            special,
            tokenizer_class='CLIPTokenizer',
            processor_class='OneFormerProcessor',
            model_max_length=CLIPTokenizer().context_length,
            do_lower_case=True,
        ),
    }
