"""The annotation sets of a config."""

import os.path as osp
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _package import metainfo as metainfo_rules
from _package import tasks

from .sets import AnnotationSet

SPLITS = ('train', 'val', 'test')


def sets_of_config(
    path: str, overrides: dict | None = None
) -> tuple[list[AnnotationSet], list[str]]:
    """Return the annotation sets that a config trains and tests on.

    Nothing that the config names is imported, so that this takes no torch.

    Args:
        path (str): Config file.
        overrides (dict, optional): Settings of ``--cfg-options``.

    Returns:
        tuple: The sets, each once, and remarks about the datasets of types
        that ``BUILDERS`` does not know.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If it has no dataset that can be checked.
    """
    from mmengine.config import Config

    config = Config.fromfile(path, import_custom_modules=False)
    config.merge_from_dict(overrides or {})
    limits = model_limits(config)
    sets, remarks, seen = [], [], set()
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
            if key not in seen:
                sets.append(aset)
            seen.add(key)
    if not sets:
        raise ValueError(
            f'{path} has no dataset to check. '
            + (' '.join(remarks) or 'Expected train_dataloader.dataset.')
        )
    return sets, remarks


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
    things = aset.thing_classes or aset.classes or ()
    stuff = tuple(name for name in aset.classes or () if name not in things)
    return replace(aset, optional_classes=aset.optional_classes + stuff)


def semantic_set(dataset: dict, split: str, limits: dict) -> AnnotationSet:
    """Return the set of a dataset of label maps."""
    png_classes = dataset.get('png_classes')
    shared = _shared(dataset, split, limits)
    names = png_classes or shared['classes']
    img_suffix = dataset.get('img_suffix')
    count = None
    if names is not None:
        count = len(names) + bool(dataset.get('reduce_zero_label'))
    return AnnotationSet(
        kind='semantic',
        seg_dir=_folder(dataset, 'seg'),
        num_classes=count,
        ignore_index=dataset.get('ignore_index', tasks.IGNORE_INDEX),
        img_suffix=img_suffix,
        label_name=(
            (img_suffix or '').rpartition('.')[0],
            dataset.get('seg_map_suffix', '.png').rpartition('.')[0],
        ),
        **shared,
    )


def _json_set(
    kind: str, dataset: dict, split: str, limits: dict
) -> AnnotationSet:
    shared = _shared(dataset, split, limits)
    lenient = dataset.get('missing_classes', 'error') != 'error'
    return AnnotationSet(
        kind=kind,
        ann_file=Path(
            osp.join(dataset.get('data_root') or '', dataset['ann_file'])
        ),
        seg_dir=_folder(dataset, 'seg') if kind == 'panoptic' else None,
        optional_classes=shared['classes'] or () if lenient else (),
        **shared,
    )


def _shared(dataset: dict, split: str, limits: dict) -> dict:
    """Return the settings that all kinds of sets have."""
    metainfo = dataset.get('metainfo') or {}
    training = split == 'train'
    return dict(
        name=split,
        image_dir=_folder(dataset, 'img'),
        classes=metainfo_rules.class_list(metainfo, 'classes'),
        thing_classes=metainfo_rules.class_list(metainfo, 'thing_classes'),
        model_classes=limits['model_classes'],
        training=training,
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
