"""Settings of an EoMT of ``transformers``, in our terms.

The way back is ``weights/eomt_folder.py``.
"""

from pathlib import Path

from ..errors import InputError
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
)

# What our modules have built in. A folder that says otherwise is refused.
FIXED = dict(num_channels=3, num_upscale_blocks=2, hidden_act='gelu')
THRESHOLDS = dict(object_mask_thr=0.8, iou_thr=0.8)
FIXED_PROCESSOR = dict(do_split_image=False, do_pad=True, do_resize=True)


def eomt_settings(folder: Path) -> Settings:
    """Return the settings that a folder of transformers stands for.

    Its files do not say what the weights were trained for: classes that
    include stuff make a panoptic model, things alone one for instances.
    Thresholds are in no file either: they are those of the authors.

    Raises:
        InputError: If this package cannot build it, as the images are split
            into windows, or the things are not known.
    """
    path = folder / 'config.json'
    values = read_object_file(path)
    check_fixed(values, FIXED, path)
    classes = class_names(values, path)
    processor = read_processor(folder)
    check_fixed(processor, FIXED_PROCESSOR, processor['path'])
    things = thing_classes(folder, processor, classes)
    tasks = ('panoptic',) if len(things) < len(classes) else ('instance',)
    side = _image_size(values, processor, path)
    return Settings(
        model=dict(
            type='OneFormer',
            data_preprocessor=dict(
                type='DetDataPreprocessor',
                mean=colour_values(processor, 'image_mean'),
                std=colour_values(processor, 'image_std'),
                bgr_to_rgb=True,
                pad_size_divisor=side,
                pad_mask=True,
                mask_pad_value=0,
            ),
            **_network(values, side, path),
            panoptic_fusion_head=dict(type='OneFormerFusionHead'),
            test_cfg=dict(THRESHOLDS, tasks=tasks),
        ),
        test_pipeline=image_steps((side, side), keep_ratio=True),
        classes=classes,
        thing_classes=things,
    )


def _network(values: dict, side: int, path: Path) -> dict:
    """Return backbone and head: the first blocks, and those with queries."""
    width = whole_number(values, 'hidden_size', 1024, path)
    gated = bool(values.get('use_swiglu_ffn', False))
    channels = width * positive_number(values, 'mlp_ratio', 4, path)
    if gated:  # two thirds, rounded up to eights
        channels = (int(channels * 2 / 3) + 7) // 8 * 8
    block = dict(
        embed_dims=width,
        num_heads=whole_number(values, 'num_attention_heads', 16, path),
        feedforward_channels=int(channels),
        gated=gated,
        norm_eps=positive_number(values, 'layer_norm_eps', 1e-6, path),
    )
    blocks = whole_number(values, 'num_hidden_layers', 24, path)
    joint = whole_number(values, 'num_blocks', 4, path)
    if joint >= blocks:
        raise InputError(
            f'{path}: expected fewer blocks with queries (num_blocks) than '
            f'blocks (num_hidden_layers), got {joint} and {blocks}.'
        )
    patch = whole_number(values, 'patch_size', 16, path)
    return dict(
        backbone=dict(
            type='PlainViT',
            image_size=side,
            patch_size=patch,
            num_layers=blocks - joint,
            num_registers=whole_number(
                values, 'num_register_tokens', 4, path, least=0
            ),
            block=block,
        ),
        panoptic_head=dict(
            type='EoMTHead',
            num_layers=joint,
            num_queries=whole_number(values, 'num_queries', 200, path),
            patch_size=patch,
            task_token=None,
            block=block,
        ),
    )


def _image_size(values: dict, processor: dict, path: Path) -> int:
    """Return the side of the square that images are resized to fit."""
    side = whole_number(values, 'image_size', 640, path)
    size = processor.get('size', side)
    if isinstance(size, int):
        size = dict(shortest_edge=size, longest_edge=size)
    sides = set(size.values()) if isinstance(size, dict) else {size}
    if sides != {side}:
        raise InputError(
            f'{processor["path"]}: expected images that are resized to fit '
            f'the {side} pixels of image_size in {path.name}, got {size!r}.'
        )
    return side
