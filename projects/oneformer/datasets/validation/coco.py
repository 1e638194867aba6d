"""What COCO's panoptic and instance annotation files have in common."""

import reprlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .files import read_json
from .report import Finding, found
from .sets import AnnotationSet

MAX_SIDE = 1_000_000  # pixels; more is a slip
KEYS = dict(
    panoptic=dict(
        images=('id', 'file_name', 'height', 'width'),
        annotations=('image_id', 'file_name', 'segments_info'),
        categories=('id', 'name'),
    ),
    instance=dict(
        images=('id', 'file_name', 'height', 'width'),
        annotations=('id', 'image_id', 'category_id', 'segmentation'),
        categories=('id', 'name'),
    ),
)


def check_layout(
    aset: AnnotationSet,
) -> tuple[dict[str, list[dict]] | None, list[Finding]]:
    """Read an annotation file and keep the entries that have all keys."""
    path = aset.ann_file
    try:
        content = read_json(path)
    except ValueError as error:
        message = f'cannot be read: {error}'
        return None, [found('json-unreadable', path, message)]
    findings = []
    kept = {}
    for name, keys in KEYS[aset.kind].items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            message = f'expected a list {name!r} in it'
            findings.append(found('json-layout', path, message))
            return None, findings
        kept[name] = []
        for index, entry in enumerate(entries):
            if problem := entry_problem(entry, keys):
                findings.append(
                    found('json-layout', path, problem, name, index)
                )
            else:
                kept[name].append(entry)
    return kept, findings


def entry_problem(entry: object, keys: Iterable[str]) -> str | None:
    """Say what is wrong with the form of an entry, or None."""
    if not isinstance(entry, dict):
        return f'expected an object, got {reprlib.repr(entry)}'
    if lacking := sorted(set(keys) - entry.keys()):
        return f'lacks {lacking} in {reprlib.repr(entry)}'
    for key in ('file_name', 'name'):
        if not isinstance(entry.get(key, ''), str):
            return f'expected a text as {key} in {reprlib.repr(entry)}'
    for key in {'id', 'image_id', 'category_id'} & entry.keys():
        if not isinstance(entry[key], int | str):
            return f'expected a whole number as {key}: {reprlib.repr(entry)}'
    for key in {'height', 'width'} & entry.keys() & set(keys):
        if type(entry[key]) is not int or not 0 < entry[key] <= MAX_SIDE:
            return (
                f'expected 1 to {MAX_SIDE} pixels as {key} in '
                f'{reprlib.repr(entry)}'
            )
    if not isinstance(entry.get('segments_info', []), list):
        return f'expected a list as segments_info in {reprlib.repr(entry)}'
    return None


def check_images(
    aset: AnnotationSet, images: list[dict], annotations: list[dict]
) -> list[Finding]:
    """Check that pictures and annotations point at one another."""
    path = aset.ann_file
    findings = repeated(
        'duplicate-image-id', path, (i['id'] for i in images), 'image'
    )
    for name, number in Counter(i['file_name'] for i in images).items():
        if number > 1:
            message = f'is listed as {number} pictures'
            findings.append(
                found('duplicate-file', path, message, 'file', name)
            )
    known = {image['id'] for image in images}
    unknown = Counter(
        a['image_id'] for a in annotations if a['image_id'] not in known
    )
    for number in unknown:
        # JSON knows both 7 and "7".
        other = int(number) if str(number).isdecimal() else number
        other = str(number) if isinstance(number, int) else other
        hint = f', but {other!r} is' if other in known else ''
        message = f'an annotation has this image_id; no image has{hint}'
        findings.append(found('unknown-image', path, message, 'image', number))
    annotated = {a['image_id'] for a in annotations}
    for image in images:
        if image['id'] not in annotated:
            message = f'{image["file_name"]} has no annotation'
            level = 'info' if aset.kind == 'instance' else None
            findings.append(
                found(
                    'no-annotation', path, message, 'image', image['id'], level
                )
            )
    return findings


def repeated(kind: str, path: Path, ids: Iterable, what: str) -> list[Finding]:
    """Find what occurs more than once."""
    return [
        found(kind, path, f'is used {number} times', what, key)
        for key, number in Counter(ids).items()
        if number > 1
    ]


def check_categories(
    aset: AnnotationSet, categories: list[dict]
) -> list[Finding]:
    """Check the categories, by themselves and against the config."""
    path = aset.ann_file
    findings = [
        *repeated(
            'duplicate-category-id',
            path,
            (c['id'] for c in categories),
            'category',
        ),
        *repeated(
            'duplicate-category-name',
            path,
            (c['name'] for c in categories),
            'category',
        ),
    ]
    findings += [
        found('category-zero', path, f'is {c["name"]!r}', 'category', 0)
        for c in categories
        if c['id'] == 0
    ]
    if aset.kind == 'panoptic':
        findings += check_isthing(aset, categories)
    if aset.classes is not None:
        findings += check_metainfo(aset, categories)
    if aset.model_classes is not None:
        findings += check_model_classes(aset, categories)
    return findings


def check_isthing(
    aset: AnnotationSet, categories: list[dict]
) -> list[Finding]:
    """Check which categories are things."""
    findings = []
    things = aset.thing_classes
    for category in categories:
        flag, name = category.get('isthing'), category['name']
        where = (aset.ann_file, 'category', category['id'])
        if flag not in (0, 1):
            message = (
                f"{name!r} has 'isthing' {flag!r}: write 1 for things, 0 for "
                'stuff'
            )
            # With thing_classes in the config nobody asks the JSON.
            level = 'error' if things is None else 'info'
            findings.append(_at('isthing-missing', where, message, level))
        elif (
            things is not None
            and name in (aset.classes or things)
            and bool(flag) != (name in things)
        ):
            message = (
                f'{name!r} has isthing {int(flag)}, but is '
                f'{"" if name in things else "not "}among thing_classes of '
                'the config, which decide'
            )
            findings.append(_at('isthing-conflict', where, message))
    return findings


def _at(
    kind: str, where: tuple, message: str, level: str | None = None
) -> Finding:
    file, what, number = where
    return found(kind, file, message, what, number, level)


def check_metainfo(
    aset: AnnotationSet, categories: list[dict]
) -> list[Finding]:
    """Compare the classes of the config with the categories."""
    names = [category['name'] for category in categories]
    path = aset.ann_file
    findings = repeated('metainfo', path, aset.classes, 'class')
    for name in aset.classes:
        if name not in names and name not in aset.optional_classes:
            message = (
                'is among the classes of the config, but no category: '
                f'categories are {reprlib.repr(names)}'
            )
            findings.append(found('metainfo', path, message, 'class', name))
    for name in aset.thing_classes or ():
        if name not in aset.classes:
            message = 'is among thing_classes of the config, not its classes'
            findings.append(found('metainfo', path, message, 'class', name))
    for category in categories:
        if category['name'] not in aset.classes:
            message = f'{category["name"]!r} is not among the classes'
            findings.append(
                found(
                    'category-left-out',
                    path,
                    message,
                    'category',
                    category['id'],
                )
            )
    return findings


def check_model_classes(
    aset: AnnotationSet, categories: list[dict]
) -> list[Finding]:
    """Compare the classes of the model with those of the dataset."""
    names = tuple(category['name'] for category in categories)
    classes = names if aset.classes is None else aset.classes
    if classes == aset.model_classes:
        return []
    message = (
        f'the model has {len(aset.model_classes)} classes '
        f'{reprlib.repr(aset.model_classes)}, this dataset '
        f'{len(classes)} {reprlib.repr(classes)}: give both the same, in the '
        'same order'
    )
    return [found('metainfo', aset.ann_file, message)]


def check_unused(
    aset: AnnotationSet, categories: list[dict], used: set
) -> list[Finding]:
    """Find classes that occur in no picture."""
    level = 'warning' if aset.training else 'info'
    return [
        found(
            'unused-class',
            aset.ann_file,
            f'{category["name"]!r} is in no picture',
            'category',
            category['id'],
            level,
        )
        for category in categories
        if category['id'] not in used
        and (aset.classes is None or category['name'] in aset.classes)
    ]


def check_number(
    aset: AnnotationSet, file: Path, image: dict, number: int
) -> list[Finding]:
    """Compare the masks to learn in a picture with what the model holds."""
    where = (file, 'image', image['id'])
    if aset.num_queries is not None and number > aset.num_queries:
        message = (
            f'{image["file_name"]} has {number} segments, the model '
            f'{aset.num_queries} queries: raise num_queries or train on '
            'smaller crops'
        )
        return [_at('too-many-segments', where, message)]
    if aset.num_texts is not None and number > aset.num_texts:
        message = (
            f'{image["file_name"]} has {number} segments, the model '
            f'{aset.num_texts} text slots (num_queries - num_context): the '
            'texts beyond are cut'
        )
        return [_at('too-many-texts', where, message)]
    return []
