"""Recognises which config of this package some weights belong to.

Weights of the reference hold names and shapes alone. The backbone and the
number of classes select configs by their file names, and their queries and
kernel the ones that fit. What may remain differs in settings that weights do
not show, such as the size of test images; then the published name of the file
decides, which the configs state ("Released:").
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

from ..errors import InputError
from ..shipped_configs import PLACES, config_path
from ..weights.fitting import CLASS_HEAD, QUERIES, describe_weights
from ..weights.layouts import to_native
from .settings import settings_of

# Data sets of the paper by their number of classes.
DATA_SETS = {150: 'ade20k', 19: 'cityscapes', 133: 'coco', 65: 'mapillary'}
# An entry that only this kind of backbone has, and its names by the number
# of channels that the entry makes.
BACKBONES = {
    'backbone.patch_embed.projection.weight': {96: 'swin-t', 192: 'swin-l'},
    'backbone.patch_embed.proj.1.weight': {192: 'dinat-l'},
    'backbone.downsample_layers.0.0.weight': {
        192: 'convnext-l',
        256: 'convnext-xl',
    },
    'backbone.layer3.5.conv3.weight': {1024: 'r50'},
}


def recognise(
    weights: Mapping[str, Tensor],
    file_name: str,
    classes: Sequence[str] | None = None,
) -> Config:
    """Return the config that some weights were published with, and log it.

    Args:
        weights (Mapping[str, Tensor]): In any known layout; the values are
            not read.
        file_name (str): Of the checkpoint, for messages, and to decide
            between configs that fit equally well.
        classes (Sequence[str], optional): Names, if the file gives them.

    Raises:
        InputError: If no config fits, or several that give other results.
            The message lists them.
    """
    try:
        entries = to_native(weights)
    except ValueError as error:
        raise InputError(f'{file_name}: {error}') from error
    fitting = [
        path
        for path in _candidates(entries)
        if _fits(_load(str(path)), entries, classes)
    ]
    if not fitting:
        raise InputError(
            f'{file_name} holds {describe_weights(entries)}, which no config '
            'of this package for ADE20K, Cityscapes, COCO or Mapillary Vistas '
            'has. Give the config that it was trained with: '
            'from_pretrained(file, config=...).'
        )
    named = [path for path in fitting if _released_as(path) == file_name]
    chosen = named or fitting
    first, *others = [settings_of(_load(str(path))) for path in chosen]
    if any(other != first for other in others):
        names = ', '.join(path.stem for path in chosen)
        raise InputError(
            f'{file_name} fits several configs, which differ in test size, '
            f'tasks or dilations: {names}. Choose one: from_pretrained(file, '
            f"config='{chosen[0].stem}'), or give the file its published "
            'name.'
        )
    print_log(
        f'{file_name} holds {describe_weights(entries)}: it is read with the '
        f'config {chosen[0].stem}.',
        logger='current',
    )
    return _load(str(chosen[0]))


def _candidates(entries: Mapping[str, Tensor]) -> list[Path]:
    """Return the configs of a backbone and of a number of classes."""
    backbone = next(
        (
            names.get(len(entries[entry]))
            for entry, names in BACKBONES.items()
            if entry in entries
        ),
        None,
    )
    classes = len(entries.get(CLASS_HEAD[1], ())) - 1
    data_set = DATA_SETS.get(classes)
    if backbone is None or data_set is None:
        return []
    # Variants follow a dash.
    pattern = re.compile(rf'oneformer_{backbone}_{data_set}(-.*)?')
    folder = next(place for place in PLACES if place.is_dir())
    return sorted(
        (p for p in folder.glob('*.py') if pattern.fullmatch(p.stem)),
        key=lambda path: (len(path.stem), path.stem),
    )


def _fits(
    config: Config,
    entries: Mapping[str, Tensor],
    classes: Sequence[str] | None,
) -> bool:
    model = config.model
    if classes and not _same_names(classes, model.metainfo['classes']):
        return False
    if len(entries.get(QUERIES, ())) != model.panoptic_head.num_queries:
        return False
    kernel = entries.get('backbone.levels.0.blocks.0.attn.rpb')
    return kernel is None or (
        kernel.shape[-1] == 2 * model.backbone.kernel_size - 1
    )


def _released_as(path: Path) -> str | None:
    found = re.search(r'^Released: (\S+)$', path.read_text('utf-8'), re.M)
    return found[1] if found else None


@cache
def _load(path: str) -> Config:
    return Config.fromfile(path)


def _same_names(names: Sequence[str], others: Sequence[str]) -> bool:
    return [n.strip() for n in names] == [n.strip() for n in others]


def published_settings(classes: Sequence[str]) -> dict[str, Any]:
    """Return what the paper sets for a data set, if it knows the classes.

    Args:
        classes (Sequence[str]): Names in label order. Blanks around them do
            not count: some files keep those of the data sets' own lists.

    Returns:
        dict[str, Any]: ``test_cfg`` of the model, with the thresholds of
        panoptic results, and ``thing_classes`` among ``classes``; nothing for
        other classes.
    """
    data_set = DATA_SETS.get(len(classes))
    if data_set is None:
        return {}
    config = _load(config_path(f'_base_/datasets/{data_set}_panoptic.py'))
    if not _same_names(classes, config.metainfo['classes']):
        return {}
    things = {name.strip() for name in config.metainfo['thing_classes']}
    return dict(
        test_cfg=dict(config.get('test_options', {})),
        thing_classes=tuple(n for n in classes if n.strip() in things),
    )
