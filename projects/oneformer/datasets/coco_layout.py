"""The COCO layout: what an annotation file holds, read in one way.

Data sets, metrics, converters and the validator read every annotation file
by :func:`read_coco`, so that it means the same to all of them. A value that
is written in another type than COCO's and still has one meaning, ``"0"`` as
``iscrowd`` or 64.0 as ``width``, is read and noted; one that has not is
refused. This module imports the standard library alone, so that the tools of
``tools/`` read by it without loading the package.
"""

import json
import os
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

MAX_SIDE = 1_000_000  # pixels; more is a slip
# What the entries of a file cannot do without.
KEYS = dict(
    panoptic=dict(
        images=('id', 'file_name', 'height', 'width'),
        annotations=('image_id', 'file_name', 'segments_info'),
        categories=('id', 'name'),
    ),
    instance=dict(
        images=('id', 'file_name', 'height', 'width'),
        annotations=('image_id', 'category_id', 'segmentation'),
        categories=('id', 'name'),
    ),
)
SEGMENT_KEYS = ('id', 'category_id')
FLAGS = {'0': 0, '1': 1, 'false': 0, 'true': 1}
# Kind of a remark about a value that was read by its meaning.
READ = 'json-value'


class Remark(NamedTuple):
    """An entry that is not written as COCO's are.

    Attributes:
        kind (str): ``READ``, or why it is refused: 'json-layout' or
            'iscrowd'.
        part (str): The list it is in: 'images', 'annotations', 'categories'
            or 'segments_info'.
        index (int): Its place in that list.
        message (str): What was expected, and what is there.
        entry (object): The entry as it is in the file.
        owner (dict | None): Of a segment, the annotation as it was read.
    """

    kind: str
    part: str
    # A method of tuples has this name, too.
    index: int  # type: ignore[assignment]
    message: str
    entry: Any
    owner: dict | None = None

    def __str__(self) -> str:
        known = isinstance(self.entry, dict) and 'id' in self.entry
        which = f' (id {self.entry["id"]!r})' if known else ''
        return f'entry {self.index} of {self.part}{which}: {self.message}'


class Coco(NamedTuple):
    """The entries of an annotation file that can be used, values read.

    Attributes:
        images (list[dict]): Ids, names and sizes.
        annotations (list[dict]): Of instances, or of panoptic images with
            ``segments_info``.
        categories (list[dict]): ``isthing`` is 0, 1, or not usable.
        remarks (list[Remark]): What was read by its meaning or refused.
    """

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    remarks: list[Remark]


class _RefusedError(Exception):
    """An entry cannot be used; holds kind and message."""


def parse_json(content: bytes) -> Any:
    """Return what a JSON file holds, a byte order mark or not.

    Raises:
        ValueError: If it is no JSON.
    """
    try:
        return json.loads(content)
    except (RecursionError, ValueError) as error:
        raise ValueError(f'it is no whole JSON: {error}') from error


def read_coco(content: Any, kind: str) -> Coco:
    """Read the entries of an annotation file.

    Args:
        content (Any): What the JSON holds; it is not changed.
        kind (str): 'panoptic' or 'instance'.

    Raises:
        ValueError: If it has not the three lists of the layout.
    """
    for name in KEYS[kind]:
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f'expected a list {name!r} in it')
    remarks: list[Remark] = []
    keys = KEYS[kind]

    def read(part: str, **more: Callable) -> dict[int, dict]:
        readers = READERS[part] | more
        return _read_all(part, content[part], keys[part], readers, remarks)

    images, categories = read('images'), read('categories')
    image = _reference({entry['id'] for entry in images.values()})
    category = _reference({entry['id'] for entry in categories.values()})
    if kind == 'panoptic':
        annotations = read('annotations', image_id=image, **PANOPTIC)
        _read_segments(annotations, category, remarks)
    else:
        annotations = read(
            'annotations',
            image_id=image,
            category_id=category,
            iscrowd=read_flag,
            segments_info=_other_kind,
        )
        _number_missing(annotations, remarks)
    return Coco(
        list(images.values()),
        list(annotations.values()),
        list(categories.values()),
        remarks,
    )


def require_coco(
    content: object, kind: str, source: str
) -> tuple[Coco, str | None]:
    """Read the entries of an annotation file, of which none may be refused.

    Args:
        content (object): What the JSON holds; it is not changed.
        kind (str): 'panoptic' or 'instance'.
        source (str): What to call the file.

    Returns:
        tuple: The entries, and a warning if values were read by their
        meaning.

    Raises:
        ValueError: If it has not the three lists of the layout, or an entry
            cannot be used.
    """
    try:
        coco = read_coco(content, kind)
    except ValueError as error:
        raise ValueError(
            f'{source} is not in the COCO {kind} layout: {error}.'
        ) from error
    if refused := [r for r in coco.remarks if r.kind != READ]:
        others = f'; {len(refused)} are wrong' if len(refused) > 1 else ''
        raise ValueError(
            f'{source}, {refused[0]}. Mend or remove the entry{others}.'
        )
    if not coco.remarks:
        return coco, None
    return coco, (
        f'{len(coco.remarks)} entries of {source} have values of another type '
        'than COCO, which were read by their meaning; the first is '
        f'{coco.remarks[0]}.'
    )


def _read_all(
    part: str,
    entries: list,
    needed: Iterable[str],
    readers: dict[str, Callable],
    remarks: list[Remark],
) -> dict[int, dict]:
    """Return the entries that can be used by place, and note the others."""
    needed = set(needed)
    kept = {}
    for index, entry in enumerate(entries):
        try:
            read, notes = _read_entry(entry, needed, readers)
        except _RefusedError as error:
            kind, message = error.args
            remarks.append(Remark(kind, part, index, message, entry))
            continue
        if notes:
            message = ', '.join(notes)
            remarks.append(Remark(READ, part, index, message, entry))
        kept[index] = read
    return kept


def _read_entry(
    entry: object, needed: set[str], readers: dict[str, Callable]
) -> tuple[dict, list[str]]:
    """Return an entry with its values read, and which of them changed."""
    if not isinstance(entry, dict):
        message = f'expected an object, got {reprlib.repr(entry)}'
        raise _RefusedError('json-layout', message)
    if lacking := needed - entry.keys():
        message = f'lacks {sorted(lacking)} in {reprlib.repr(entry)}'
        raise _RefusedError('json-layout', message)
    changed, notes = {}, []
    for key, read in readers.items():
        if key not in entry:
            continue
        value = entry[key]
        try:
            found = read(value)
        except ValueError as error:
            kind = 'iscrowd' if key == 'iscrowd' else 'json-layout'
            message = f'{key} is {reprlib.repr(value)}, expected {error}'
            raise _RefusedError(kind, message) from error
        if found is not value:
            changed[key] = found
            notes.append(f'{key} {value!r} is read as {found!r}')
    return (entry | changed if changed else entry), notes


def _read_segments(
    annotations: dict[int, dict], category: Callable, remarks: list[Remark]
) -> None:
    """Read the segments of panoptic annotations, in place."""
    readers = dict(id=_segment_id, category_id=category, iscrowd=read_flag)
    for place, annotation in annotations.items():
        own: list[Remark] = []
        segments = annotation['segments_info']
        kept = _read_all('segments_info', segments, SEGMENT_KEYS, readers, own)
        if not own:
            continue
        read = dict(annotation, segments_info=list(kept.values()))
        annotations[place] = read
        name = annotation['file_name']
        remarks += [
            remark._replace(message=f'{name}: {remark.message}', owner=read)
            for remark in own
        ]


def _number_missing(
    annotations: dict[int, dict], remarks: list[Remark]
) -> None:
    """Give instances without an id a free one; nothing refers to it."""
    lacking = [
        place
        for place, annotation in annotations.items()
        if annotation.get('id') is None
    ]
    if not lacking:
        return
    numbers = (a.get('id') for a in annotations.values())
    free = max((n for n in numbers if type(n) is int), default=0)
    for number, place in enumerate(lacking, start=free + 1):
        entry = annotations[place]
        annotations[place] = dict(entry, id=number)
        message = f'lacks an id and gets {number}'
        remarks.append(Remark(READ, 'annotations', place, message, entry))


# ----------------------------------------------------------------- values
# Each returns the value itself where it is as it should be.


def read_flag(value: object) -> int:
    """Return 0 or 1 of a value that says one of them.

    Raises:
        ValueError: If it does not.
    """
    if type(value) is int and 0 <= value <= 1:
        return value
    if value is None:
        return 0
    if isinstance(value, bool | float) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.strip().lower() in FLAGS:
        return FLAGS[value.strip().lower()]
    raise ValueError('0 or 1')


def read_side(value: object) -> int:
    """Return a height or width in pixels.

    Raises:
        ValueError: If it is no whole number from 1 to ``MAX_SIDE``.
    """
    number = _whole(value)
    if type(number) is not int or not 0 < number <= MAX_SIDE:
        raise ValueError(f'a whole number of pixels from 1 to {MAX_SIDE}')
    return number


def read_id(value: object) -> int | str:
    """Return an id, a whole number or a text.

    Raises:
        ValueError: If it is neither.
    """
    if type(value) is str:
        return value
    number = _whole(value)
    if type(number) is not int:
        raise ValueError('a whole number or a text')
    return number


def is_box(value: object) -> bool:
    """Whether a value is four numbers of pixels."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(map(is_size, value))
    )


def is_size(value: object) -> bool:
    """Whether a value is a number of pixels that an image may have."""
    # NaN is not smaller than anything.
    return isinstance(value, int | float) and abs(value) <= MAX_SIDE**2


def _segment_id(value: object) -> int | str:
    """Return the id of a segment, which a PNG stores as a number."""
    return _whole(read_id(value))


def _reference(known: set) -> Callable[[object], int | str]:
    """Return a reader of ids that JSON has both as 7 and as "7"."""

    def read(value: object) -> int | str:
        number = read_id(value)
        if number in known:
            return number
        other = str(number) if type(number) is int else _whole(number)
        return other if other in known else number

    return read


def _whole(value: Any) -> Any:
    """Return 64 of 64.0 and '64', and anything else as it is."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        # Longer ones are no numbers of pixels or segments.
        return int(value) if len(value) < 20 else value
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError('a text')
    return value


def _name(value: object) -> str:
    """Return a text that can be printed and tokenized."""
    text = _text(value)
    # JSON can hold halves of a pair.
    if not text.strip() or any('\ud800' <= c <= '\udfff' for c in text):
        raise ValueError('a text of whole characters that is not blank')
    return text


def _file_name(value: object) -> str:
    """Return a text that a file can have as its name."""
    try:
        text = _text(value)
        if b'\0' not in os.fsencode(text):
            return text
    except UnicodeEncodeError:
        pass
    raise ValueError('the name of a file')


def _other_kind(value: object) -> object:
    raise ValueError('none, as the annotations of the file are no panoptic')


def _list(value: object) -> list:
    if not isinstance(value, list):
        raise ValueError('a list')
    return value


def _thing_flag(value: object) -> object:
    """Return 0 or 1, or what says neither: another source may know."""
    try:
        return value if value is None else read_flag(value)
    except ValueError:
        return value


def _optional_id(value: object) -> int | str | None:
    return value if value is None else read_id(value)


PANOPTIC: dict[str, Callable] = dict(file_name=_file_name, segments_info=_list)
READERS: dict[str, dict[str, Callable]] = dict(
    images=dict(
        id=read_id, file_name=_file_name, height=read_side, width=read_side
    ),
    categories=dict(id=read_id, name=_name, isthing=_thing_flag),
    annotations=dict(id=_optional_id),
)
