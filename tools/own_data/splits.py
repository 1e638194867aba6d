"""Which of the annotation sets of a folder are trained and tested on."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from _package import errors
from dataset_validation import AnnotationSet

WORDS = dict(
    train=('train', 'training'),
    val=('val', 'valid', 'validation'),
    test=('test', 'testing'),
)
KINDS = ('panoptic', 'instance', 'semantic')


class Splits(NamedTuple):
    """The sets to train and test on.

    Attributes:
        train (AnnotationSet): With ``val`` None, validation takes part of
            it.
        val (AnnotationSet | None): To validate on.
        test (AnnotationSet | None): For a score after all choices.
    """

    train: AnnotationSet
    val: AnnotationSet | None
    test: AnnotationSet | None


def choose_kind(
    sets: Sequence[AnnotationSet], folder: Path, wanted: str | None
) -> str:
    """Return the kind of annotation to use.

    Of those that can be trained on it is the one that supervises most.

    Raises:
        ValueError: If the wanted one is not there.
    """
    there = [k for k in KINDS if any(aset.kind == k for aset in sets)]
    if wanted is not None and wanted not in there:
        raise errors.InputError(
            f'Expected one of {there}, the kinds of annotation that were '
            f'found, as --kind, got {wanted!r}.'
        )
    training = [
        kind
        for kind in there
        if any(
            aset.kind == kind and split_of(aset, folder) in ('train', None)
            for aset in sets
        )
    ]
    return wanted or [*training, *there][0]


def choose_splits(
    sets: Sequence[AnnotationSet],
    folder: Path,
    train: str | None = None,
    val: str | None = None,
) -> Splits:
    """Return which sets are for training and tests, by their names.

    Args:
        sets (Sequence[AnnotationSet]): Of one kind.
        folder (Path): That they were found in.
        train (str, optional): End of the path of the set to train on.
        val (str, optional): The same of the set to validate on.

    Raises:
        ValueError: If it is not clear which one to train on.
    """
    found: dict[str | None, list[AnnotationSet]] = {}
    for aset in sets:
        found.setdefault(split_of(aset, folder), []).append(aset)
    if train is None and 'train' not in found and len(sets) == 1:
        return Splits(sets[0], None, None)
    if train is None and 'train' not in found:
        found['train'] = found.pop(None, [])
    chosen = {
        name: named(sets, wanted, folder)
        if wanted is not None
        else only(found.get(name, []), name, folder)
        for name, wanted in (('train', train), ('val', val), ('test', None))
    }
    if chosen['train'] is None:
        raise errors.InputError(
            f'{folder} has annotations for {_names(sets, folder)}, but none '
            'to train on is called train: name the one as --train.'
        )
    return Splits(chosen['train'], chosen['val'], chosen['test'])


def split_of(aset: AnnotationSet, folder: Path) -> str | None:
    """Return 'train', 'val' or 'test' by the names of files and folders."""
    for path in (aset.source, aset.image_dir):
        if path == folder:
            continue
        inside = folder in path.parents
        parts = path.relative_to(folder).parts if inside else (path.name,)
        for part in reversed(parts):
            words = re.split(r'[^a-z]+', part.lower())
            for split, known in WORDS.items():
                if not set(known).isdisjoint(words):
                    return split
    return None


def only(
    sets: Sequence[AnnotationSet], name: str, folder: Path
) -> AnnotationSet | None:
    """Return the one set of a split, None if there is none."""
    if len(sets) > 1:
        raise errors.InputError(
            f'Several annotations of {folder} are for {name}: '
            f'{_names(sets, folder)}. Name the one as --{name}.'
        )
    return sets[0] if sets else None


def named(
    sets: Sequence[AnnotationSet], wanted: str, folder: Path
) -> AnnotationSet:
    """Return the set whose annotation a user names."""
    parts = Path(wanted).parts
    fitting = [a for a in sets if a.source.parts[-len(parts) :] == parts]
    if len(fitting) != 1:
        raise errors.InputError(
            f'Expected the annotation of one set, {_names(sets, folder)}, '
            f'got {wanted!r}, which {len(fitting)} of them end with.'
        )
    return fitting[0]


def _names(sets: Sequence[AnnotationSet], folder: Path) -> str:
    names = (a.source for a in sets)
    return ', '.join(
        str(n.relative_to(folder) if folder in n.parents else n) for n in names
    )
