"""Read from a config and its model what an exported file has to say."""

import hashlib
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from ..datasets.transforms.annotation_transform import reads_annotations
from ..errors import InputError
from ..models.oneformer import OneFormer
from ..runtime.description import Description
from ..tasks import TASKS
from ..text import task_sentence

# Steps of a test pipeline that the pixels do not depend on.
_WITHOUT_PIXELS = ('LoadImageFromFile', 'PackDetInputs')


def describe_model(
    config: Config, model: OneFormer, size: tuple[int, int] | None
) -> Description:
    """Return the description of a model.

    Args:
        config (Config): Its test pipeline and data preprocessor say how
            images are prepared.
        model (OneFormer): With its weights.
        size (tuple[int, int] | None): The one height and width of the input;
            None if they are free.

    Raises:
        InputError: If images are prepared in a way that the runner does not
            know, or the size does not fit.
    """
    metainfo = config.model.metainfo
    ids = metainfo.get('category_ids')
    fusion = model.panoptic_fusion_head
    pixels = _pixel_rules(
        config.model.data_preprocessor, model.panoptic_head.stride
    )
    resizing = _resize_rules(config.test_dataloader.dataset.pipeline)
    _check_size(size, pixels['size_divisor'], _least_size(model, resizing))
    return Description(
        classes=tuple(metainfo['classes']),
        thing_classes=tuple(metainfo['thing_classes']),
        palette=tuple(map(tuple, metainfo.get('palette') or ())),
        category_ids=None if ids is None else tuple(ids),
        default_tasks=model.tasks,
        trained_tasks=tuple(model.trained_tasks),
        task_sentences=tuple(map(task_sentence, TASKS)),
        size=size,
        object_mask_thr=fusion.object_mask_thr,
        iou_thr=fusion.iou_thr,
        max_per_image=fusion.max_per_image,
        weights_digest=weights_digest(model),
        **resizing,
        **pixels,
        **_tile_rules(model),
    )


def _tile_rules(model: OneFormer) -> dict[str, Any]:
    """Return how the input is cut into tiles."""
    if model.tiled is None:
        return {}
    return dict(
        tile=model.tiled.size,
        tile_overlap=model.tiled.overlap,
        tile_score_thr=float(model.tiled.score_thr),
    )


def _least_size(
    model: OneFormer, resizing: dict[str, Any]
) -> tuple[int, int, str] | None:
    """Return the height and width that all inputs have, if any, and why."""
    if model.tiled is not None:
        return *model.tiled.size, 'those of a tile (model.test_cfg.tile)'
    if resizing['scale'] is not None and not resizing['keep_ratio']:
        width, height = resizing['scale']
        return height, width, 'to which the test pipeline resizes all images'
    return None


def _check_size(
    size: tuple[int, int] | None,
    divisor: int,
    least: tuple[int, int, str] | None,
) -> None:
    if size is None:
        return
    if least is not None:
        height, width, why = least
        if size[0] < height or size[1] < width:
            raise InputError(
                f'Expected a height of {height} and a width of {width} or '
                f'more, {why}, got {size[0]} and {size[1]}.'
            )
    if any(side % divisor for side in size):
        raise InputError(
            f'Expected a height and a width that are multiples of {divisor}, '
            f'got {size[0]} and {size[1]}: images are padded to such.'
        )


def _resize_rules(pipeline: list[ConfigDict]) -> dict[str, Any]:
    """Return what the steps of a test pipeline do to an image."""
    rules: dict[str, Any] = dict(
        scale=None, keep_ratio=False, resize_backend='cv2'
    )
    for step in pipeline:
        kind = step['type'].rpartition('.')[-1]
        if kind in _WITHOUT_PIXELS or reads_annotations(step):
            continue
        options = {k: v for k, v in step.items() if k not in ('type', 'scale')}
        keep_ratio = options.pop('keep_ratio', False)
        backend = options.pop('backend', 'cv2')
        linear = options.pop('interpolation', 'bilinear') == 'bilinear'
        if (
            kind != 'Resize'
            or rules['scale']
            or options
            or not linear
            or not step.get('scale')
        ):
            raise InputError(
                f'The step {dict(step)} of the test pipeline cannot be '
                'exported: expected LoadImageFromFile, one bilinear Resize '
                'with a scale, steps of annotations, and PackDetInputs.'
            )
        scale = step['scale']
        if isinstance(scale, int):
            scale = scale, scale
        rules = dict(
            scale=tuple(scale), keep_ratio=keep_ratio, resize_backend=backend
        )
    return rules


def _pixel_rules(preprocessor: ConfigDict, stride: int) -> dict[str, Any]:
    """Return how pixels are normalised and padded."""
    divisor = preprocessor.get('pad_size_divisor', 1)
    if divisor % stride or preprocessor.get('pad_value', 0):
        raise InputError(
            f'Expected pad_size_divisor to be a multiple of {stride} and '
            'pad_value to be 0, got '
            f'{divisor} and {preprocessor.get("pad_value", 0)}: set them in '
            'model.data_preprocessor.'
        )
    return dict(
        mean=tuple(map(float, preprocessor.get('mean') or (0.0,) * 3)),
        std=tuple(map(float, preprocessor.get('std') or (1.0,) * 3)),
        # Images are read in the other order.
        channel_order='RGB' if preprocessor.get('bgr_to_rgb') else 'BGR',
        size_divisor=divisor,
    )


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
