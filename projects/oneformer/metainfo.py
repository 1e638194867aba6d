"""The rules of class lists: ``classes`` and ``thing_classes`` of ``metainfo``.

Model, data sets and the validator check them here. This module needs the
standard library alone, so that the tools of ``tools/`` check by it without
loading the package.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .errors import InputError

MANY_IMAGES = 20


def read_metainfo(metainfo: Mapping) -> tuple[tuple[str, ...], list[int]]:
    """Return class names and the labels of the things.

    Args:
        metainfo (Mapping): ``classes`` and ``thing_classes``.

    Raises:
        ValueError: If a list is missing, a name is repeated or a thing is
            not among the classes.
    """
    classes = _needed_list(metainfo, 'classes')
    things = _needed_list(metainfo, 'thing_classes')
    check_classes(classes, things)
    return classes, [classes.index(name) for name in things]


def _needed_list(metainfo: Mapping, key: str) -> tuple[str, ...]:
    names = class_list(metainfo, key)
    if names is None:
        raise InputError(
            f'metainfo of the model lacks {key!r}: give the same metainfo '
            'as to the dataset, with classes and thing_classes.'
        )
    return names


def class_list(metainfo: Mapping, key: str) -> tuple[str, ...] | None:
    """Return a list of names in ``metainfo``, None if it has none.

    Args:
        metainfo (Mapping): Settings of a model or dataset.
        key (str): ``classes`` or ``thing_classes``.

    Raises:
        ValueError: If it is one name in place of a list.
    """
    names = metainfo.get(key)
    if isinstance(names, str):
        raise InputError(
            f'Expected a list as {key} of metainfo, got the str {names!r}: '
            f'for one class write [{names!r}].'
        )
    return None if names is None else tuple(names)


def check_classes(classes: Sequence[str], things: Iterable[str]) -> None:
    """Check that classes have unique names, and that things are among them.

    Raises:
        ValueError: If they are not.
    """
    if wrong := unusable_names(classes):
        raise InputError(
            f'metainfo has the classes {wrong}: expected texts that are not '
            'blank.'
        )
    if repeated := repeated_names(classes):
        raise InputError(f'metainfo has classes more than once: {repeated}.')
    if unknown := unknown_things(classes, things):
        raise InputError(
            f'thing_classes {unknown} of metainfo are not among its classes: '
            'every thing must be listed in classes, too.'
        )


def unusable_names(classes: Iterable) -> list:
    """Return the names that no text can be made with."""
    return [name for name in classes if not is_name(name)]


def is_name(name: object) -> bool:
    """Whether a value is a text that is not blank, of whole characters."""
    if not isinstance(name, str) or not name.strip():
        return False
    # JSON can hold halves of a pair.
    return not any('\ud800' <= letter <= '\udfff' for letter in name)


def repeated_names(names: Iterable) -> list:
    """Return the names, or ids, that occur more than once."""
    return [name for name, number in Counter(names).items() if number > 1]


def always_single(images: Iterable[Iterable]) -> list:
    """Return the things that look as if they were stuff.

    Args:
        images (Iterable[Iterable]): Class of each thing, by image.

    Returns:
        list: Classes with one segment in each of their images, which are
        ``MANY_IMAGES`` or more.
    """
    images_of: Counter = Counter()
    several = set()
    for things in images:
        for name, number in Counter(things).items():
            images_of[name] += 1
            if number > 1:
                several.add(name)
    return [
        name
        for name, number in images_of.items()
        if number >= MANY_IMAGES and name not in several
    ]


def unknown_things(classes: Sequence[str], things: Iterable[str]) -> list[str]:
    """Return the things that are not among the classes."""
    return [name for name in things if name not in classes]
