"""Convert a state dict of any origin for a OneFormer that loads it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from .key_table import listed
from .layouts import NATIVE, layout_of, to_native
from .mismatch import describe_mismatch
from .reader import CheckpointError
from .vit import fit_sizes

TRAINING_PARTS = (
    'panoptic_head.text_mapper.',
    'panoptic_head.contrastive_loss.',
)
CLASS_HEAD = ('panoptic_head.cls_embed.weight', 'panoptic_head.cls_embed.bias')
QUERIES = 'panoptic_head.query_embed.weight'
QUERY_FEATURES = 'panoptic_head.query_init.query_feat.weight'
_MAX_ROWS = 8  # class names in the report


def fit_state_dict(
    model: Any,
    state_dict: Mapping[str, Tensor],
    classes: Sequence[str] | None = None,
    source: str = 'the state dict',
) -> dict[str, Tensor]:
    """Return one entry for each parameter and buffer of ``model``.

    A model for inference needs every weight. A model for training keeps its
    initial values where the checkpoint has none: for other classes, another
    number of queries, the text branch (which released files of transformers
    lack) or a part that was added, such as a neck. A report is logged.

    Args:
        model (OneFormer): What loads the weights. Not changed.
        state_dict (Mapping[str, Tensor]): Weights in any known layout.
        classes (Sequence[str], optional): Class names of the weights. Rows
            of classes that the model has too are copied.
        source (str): What messages call the weights.

    Returns:
        dict[str, Tensor]: One entry for each of ``model.state_dict()``.

    Raises:
        CheckpointError: If these are weights of another model. The message
            says what is missing, left over or of another shape.
    """
    try:
        entries = to_native(state_dict)
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error
    expected = model.state_dict()
    entries = fit_sizes(entries, expected)
    trains = model.panoptic_head.criterion is not None
    skipped = [
        name
        for name in entries
        if name not in expected and name.startswith(TRAINING_PARTS)
    ]
    for name in skipped:
        del entries[name]
    fresh = _initial_values(entries, expected) if trains else {}
    rows = []
    if CLASS_HEAD[0] in fresh or (trains and classes):
        rows = _take_over_rows(model, entries, expected, classes or (), fresh)
    # Counters of norms, which older files lack.
    counters = {
        name: value
        for name, value in expected.items()
        if name.endswith('.num_batches_tracked') and name not in entries
    }
    fitted = entries | counters | fresh
    if QUERY_FEATURES in expected and QUERY_FEATURES not in fitted:
        # Trained without them: with zeros the queries are the same.
        fitted[QUERY_FEATURES] = expected[QUERY_FEATURES].new_zeros(
            expected[QUERY_FEATURES].shape
        )
    _check(fitted, expected, entries, source)
    _report(source, layout_of(state_dict), fitted, skipped, fresh, rows)
    return {name: fitted[name] for name in expected}


def _initial_values(
    entries: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the initial values of parts that a checkpoint has not."""
    present = {_component(name) for name in entries}
    return {
        name: value
        for name, value in expected.items()
        if _component(name) not in present
        or (
            name in (*CLASS_HEAD, QUERIES, QUERY_FEATURES)
            and name in entries
            and entries[name].shape != value.shape
        )
    }


def _component(name: str) -> str:
    """Return the part of the model that an entry belongs to."""
    parts = name.split('.')
    return '.'.join(parts[: 2 if parts[0] == 'panoptic_head' else 1])


def _take_over_rows(
    model: Any,
    entries: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    classes: Sequence[str],
    fresh: dict[str, Tensor],
) -> list[str]:
    """Fill the class head with the rows of classes of equal names.

    ``fresh`` receives the class head, unless the classes are the same. "No
    object", the last row, is copied along with any other.

    Returns:
        list[str]: Names of the classes whose rows are copied.
    """
    ours = tuple(model.class_names)
    theirs = tuple(classes)
    if theirs == ours or not all(name in entries for name in CLASS_HEAD):
        return []
    if len(theirs) + 1 != len(entries[CLASS_HEAD[1]]):
        theirs = ()
    shared = [name for name in ours if name in theirs]
    targets = [ours.index(name) for name in shared]
    sources = [theirs.index(name) for name in shared]
    if shared:
        targets.append(len(ours))
        sources.append(len(theirs))
    for name in CLASS_HEAD:
        value = expected[name].clone()
        value[targets] = entries[name][sources].to(value)
        fresh[name] = value
    return shared


def _check(
    fitted: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    entries: Mapping[str, Tensor],
    source: str,
) -> None:
    if mismatch := describe_mismatch(fitted, expected):
        theirs, ours = describe_weights(entries), describe_weights(expected)
        raise CheckpointError(
            f'{source} does not fit this config: {mismatch}. The '
            f'file holds {theirs}; the config makes {ours}. Give the config '
            'that the weights were trained with.'
        )


def describe_weights(entries: Mapping[str, Tensor]) -> str:
    """Return a description of the model that some weights belong to."""
    backbone = {
        'backbone.patch_embed.projection.weight': 'Swin',
        'backbone.patch_embed.proj.1.weight': 'DiNAT',
        'backbone.downsample_layers.0.0.weight': 'ConvNeXt',
        'backbone.conv1.weight': 'ResNet',
        'backbone.patch_embed.weight': 'plain ViT',
    }
    found = [
        f'{kind} of {len(entries[name])} channels'
        for name, kind in backbone.items()
        if name in entries
    ]
    found = found[:1] or ['another backbone']
    if found[0].startswith('ResNet'):  # the depth tells them apart
        names = {n.rsplit('.', 2)[0] for n in entries if '.conv' in n}
        blocks = [n for n in names if n.startswith('backbone.layer')]
        found = [f'ResNet of {len(blocks)} blocks']
    if QUERIES in entries:
        found.append(f'{len(entries[QUERIES])} queries')
    if CLASS_HEAD[1] in entries:
        found.append(f'{len(entries[CLASS_HEAD[1]]) - 1} classes')
    return ', '.join(found)


def _report(
    source: str,
    layout: str | None,
    fitted: Mapping[str, Tensor],
    skipped: Sequence[str],
    fresh: Mapping[str, Tensor],
    rows: Sequence[str],
) -> None:
    """Log what was loaded, skipped and left at its initial values."""
    lines = [
        f'Loaded {len(fitted) - len(fresh)} entries of {source} '
        f'({layout} layout).'
    ]
    if skipped:
        lines.append(
            f'Skipped {len(skipped)} entries of the text branch, which only '
            'training needs.'
        )
    if fresh:
        parts = sorted({_component(name) for name in fresh})
        lines.append(f'At initial values: {listed(parts)}.')
    if CLASS_HEAD[0] in fresh:
        known = ', '.join(rows[:_MAX_ROWS])
        known += ', ...' if len(rows) > _MAX_ROWS else ''
        lines.append(
            f'The classes differ: {len(rows)} of '
            f'{len(fresh[CLASS_HEAD[1]]) - 1} were taken over by name'
            f'{f" ({known})" if rows else ""}.'
        )
    if layout != NATIVE or len(lines) > 1:
        level = logging.WARNING if fresh else logging.INFO
        print_log(' '.join(lines), logger='current', level=level)


def load_hook(
    model: Any,
    state_dict: dict,
    prefix: str,
    local_metadata: dict,
    strict: bool,
    *_,
) -> None:
    """Fit a state dict in place before ``model`` loads it.

    A pre-hook of ``load_state_dict``, so that every loader of PyTorch and
    mmengine accepts what :func:`fit_state_dict` accepts. With
    ``strict=False``, which mmengine never passes on to modules, names are
    converted and nothing is checked.
    """
    entries = {
        name.removeprefix(prefix): state_dict[name]
        for name in list(state_dict)
        if name.startswith(prefix)
    }
    # What the checkpoint was trained for, if it says so.
    if local_metadata.get('tasks'):
        model.trained_tasks = tuple(local_metadata['tasks'])
    if set(entries) == {'model'}:  # a checkpoint of the reference
        entries = dict(entries['model'])
    if strict:
        source = local_metadata.get('source') or 'The state dict'
        classes = local_metadata.get('classes')
        if layout_of(entries) != NATIVE and (
            model.checkpoint_classes is not None
        ):
            classes = model.checkpoint_classes
        fitted = fit_state_dict(model, entries, classes, source)
    else:
        fitted = to_native(entries) if layout_of(entries) else entries
    for name in list(state_dict):
        if name.startswith(prefix):
            del state_dict[name]
    for name, value in fitted.items():
        state_dict[prefix + name] = value
