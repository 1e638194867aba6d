"""The annotation sets of a config."""

import os.path as osp
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _overrides import check_overrides
from _package import errors, tasks
from _package import metainfo as metainfo_rules

from .sets import AnnotationSet

SPLITS = ('train', 'val', 'test')


def sets_of_config(
    path: str, overrides: dict | None = None
) -> tuple[list[AnnotationSet], list[str]]:
    """Return the annotation sets that a config trains and tests on.

    Nothing that the config names is imported, so that without overrides this
    takes no torch.

    Args:
        path (str): Config file.
        overrides (dict, optional): Settings of ``--cfg-options``.

    Returns:
        tuple: The sets, each once, and remarks about the datasets of types
        that ``BUILDERS`` does not know.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If it has no dataset that can be checked.
        SystemExit: If an override has no effect.
    """
    from mmengine.config import Config

    with errors.user_errors():
        config = Config.fromfile(path, import_custom_modules=False)
    if overrides:
        check_overrides(config.to_dict(), overrides)
        config.merge_from_dict(overrides)
    limits = model_limits(config)
    remarks: list[str] = []
    sets: dict[tuple, AnnotationSet] = {}
    for split in SPLITS:
        loader = config.get(f'{split}_dataloader') or {}
        for dataset in unwrap(loader.get('dataset')):
            kind = str(dataset.get('type')).rpartition('.')[2]
            if kind not in BUILDERS:
                remarks.append(
                    f'{split}: datasets of type {kind} cannot be checked '
                    f'from a config, only {", ".join(BUILDERS)}; name the '
                    'folder of the data instead of the config.'
                )
                continue
            aset = BUILDERS[kind](dataset, split, limits)
            key = (aset.ann_file, aset.image_dir, aset.seg_dir)
            known = sets.setdefault(key, aset)
            if aset.evaluated:
                sets[key] = replace(known, evaluated=True)
    if not sets:
        raise errors.InputError(
            f'{path} has no dataset to check. '
            + (' '.join(remarks) or 'Expected train_dataloader.dataset.')
        )
    return list(sets.values()), remarks


def unwrap(dataset: dict | None) -> Iterator[dict]:
    """Yield the datasets inside of wrappers that concatenate or repeat."""
    if dataset is None:
        return
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from unwrap(inner)
    elif 'dataset' in dataset:
        yield from unwrap(dataset['dataset'])
    else:
        yield dataset


def model_limits(config) -> dict:
    """Return the classes of a config's model, its queries and text slots."""
    model = config.get('model') or {}
    queries = (model.get('panoptic_head') or {}).get('num_queries')
    mapper = (model.get('train_cfg') or {}).get('text_mapper') or {}
    context = mapper.get('num_context')
    known = queries is not None and context is not None
    metainfo = model.get('metainfo') or {}
    return dict(
        num_queries=queries,
        num_texts=queries - context if known else None,
        model_classes=metainfo_rules.class_list(metainfo, 'classes'),
    )


def panoptic_set(dataset: dict, split: str, limits: dict) -> AnnotationSet:
    """Return the set of a COCO panoptic dataset."""
    return _json_set('panoptic', dataset, split, limits)


def instance_set(dataset: dict, split: str, limits: dict) -> AnnotationSet:
    """Return the set of a COCO instance dataset, which may lack stuff."""
    aset = _json_set('instance', dataset, split, limits)
    things = aset.thing_classes
    if things is None:
        things = aset.classes or ()
    stuff = tuple(name for name in aset.classes or () if name not in things)
    return replace(aset, optional_classes=aset.optional_classes + stuff)


def semantic_set(dataset: dict, split: str, limits: dict) -> AnnotationSet:
    """Return the set of a dataset of label maps."""
    png_classes = dataset.get('png_classes')
    shared = _shared(dataset, split, limits)
    names = png_classes or shared['classes']
    if names is None or isinstance(names, str):
        raise errors.InputError(
            f'The semantic dataset of {split}_dataloader needs the classes of '
            'its PNGs as a list, png_classes or classes of metainfo, got '
            f'{names!r}.'
        )
    reduced = bool(dataset.get('reduce_zero_label'))
    number = len(names) + reduced
    ignored = dataset.get('ignore_index')
    return AnnotationSet(
        kind='semantic',
        seg_dir=_folder(dataset, 'seg'),
        num_classes=number,
        png_classes=tuple(names),
        ignore_index=tasks.ignore_index(number)
        if ignored is None
        else ignored,
        reduce_zero_label=reduced,
        img_suffix=dataset.get('img_suffix'),
        seg_suffix=dataset.get('seg_map_suffix', '.png'),
        **shared,
    )


def _json_set(
    kind: str, dataset: dict, split: str, limits: dict
) -> AnnotationSet:
    shared = _shared(dataset, split, limits)
    return AnnotationSet(
        kind=kind,
        ann_file=Path(
            osp.join(dataset.get('data_root') or '', dataset['ann_file'])
        ),
        seg_dir=_folder(dataset, 'seg') if kind == 'panoptic' else None,
        **shared,
    )


def _shared(dataset: dict, split: str, limits: dict) -> dict:
    """Return the settings that all kinds of sets have."""
    metainfo = dataset.get('metainfo') or {}
    training = split == 'train'
    lenient = dataset.get('missing_classes', 'error') != 'error'
    classes = metainfo_rules.class_list(metainfo, 'classes')
    filters = dataset.get('filter_cfg') or {}
    return dict(
        name=split,
        image_dir=_folder(dataset, 'img'),
        classes=classes,
        optional_classes=classes or () if lenient else (),
        thing_classes=metainfo_rules.class_list(metainfo, 'thing_classes'),
        model_classes=limits['model_classes'],
        training=training,
        evaluated=not training,
        filter_empty=training and bool(filters.get('filter_empty_gt')),
        # Only training matches segments with queries and texts.
        num_queries=limits['num_queries'] if training else None,
        num_texts=limits['num_texts'] if training else None,
    )


def _folder(dataset: dict, key: str) -> Path:
    root = dataset.get('data_root') or ''
    return Path(
        osp.join(root, (dataset.get('data_prefix') or {}).get(key, ''))
    )


# How to read the settings of each type of dataset.
BUILDERS = dict(
    OneFormerPanopticDataset=panoptic_set,
    OneFormerInstanceDataset=instance_set,
    OneFormerSemanticDataset=semantic_set,
)
