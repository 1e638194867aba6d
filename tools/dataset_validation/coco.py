"""What COCO's panoptic and instance annotation files have in common."""

import reprlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from _annotations import read_json
from _package import coco_layout, metainfo

from .report import Finding, found
from .sets import AnnotationSet

Coco, READ = coco_layout.Coco, coco_layout.READ


def check_layout(aset: AnnotationSet) -> tuple[Coco | None, list[Finding]]:
    """Read an annotation file as the data sets read it.

    Returns:
        tuple: The entries that can be used, None if the file has not the
        layout, and what is wrong with the others.
    """
    path = aset.ann_file
    try:
        raw = read_json(path)
    except (OSError, ValueError) as error:
        message = f'cannot be read: {getattr(error, "strerror", 0) or error}'
        return None, [found('json-unreadable', path, message)]
    try:
        content = coco_layout.read_coco(raw, aset.kind)
    except ValueError as error:
        return None, [found('json-layout', path, str(error))]
    return content, of_remarks(path, content.remarks)


def of_remarks(
    path: Path, remarks: Iterable[coco_layout.Remark]
) -> list[Finding]:
    """Return the findings that the entries of a file make."""
    return [_of_remark(path, remark) for remark in remarks]


def _of_remark(path: Path, remark: coco_layout.Remark) -> Finding:
    """Return the finding that an entry of a file makes."""
    number = remark.index
    what = 'entry' if remark.part == 'segments_info' else remark.part
    message = remark.message
    if what == 'entry':
        message = f'segments_info of {message}'
    if remark.kind == 'iscrowd':
        what = 'segment' if what == 'entry' else 'annotation'
        number = remark.entry.get('id')
    return found(remark.kind, path, message, what, number)


def refused_images(content: Coco) -> list[dict]:
    """Return the images that cannot be read and still have an id and file."""
    return [
        remark.entry
        for remark in content.remarks
        if remark.part == 'images'
        and remark.kind != READ
        and isinstance(remark.entry, dict)
        and isinstance(remark.entry.get('id'), int | str)
        and isinstance(remark.entry.get('file_name'), str)
    ]


def check_images(aset: AnnotationSet, content: Coco) -> list[Finding]:
    """Check that images and annotations point at one another."""
    path, images = aset.ann_file, content.images
    annotations = content.annotations
    findings = repeated(
        'duplicate-image-id', path, (i['id'] for i in images), 'image'
    )
    for name, number in Counter(i['file_name'] for i in images).items():
        if number > 1:
            message = f'is listed as {number} images'
            findings.append(
                found('duplicate-file', path, message, 'file', name)
            )
    known = {image['id'] for image in images}
    refused = {image['id'] for image in refused_images(content)}
    unknown = Counter(
        a['image_id']
        for a in annotations
        if a['image_id'] not in known | refused
    )
    for number in unknown:
        message = 'an annotation has this image_id; no image has'
        findings.append(found('unknown-image', path, message, 'image', number))
    annotated = {a['image_id'] for a in annotations}
    # Training leaves such images out, evaluation cannot.
    level = 'error' if aset.evaluated else None
    for image in images:
        if image['id'] not in annotated:
            message = f'{image["file_name"]} has no annotation'
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
    if not categories:
        findings.append(found('empty-set', path, 'lists no category'))
    findings += [
        found('category-zero', path, f'is {c["name"]!r}', 'category', 0)
        for c in categories
        if c['id'] == 0
    ]
    if aset.kind == 'panoptic':
        findings += check_isthing(aset, categories)
    if aset.classes is not None:
        findings += check_metainfo(aset, categories)
    elif aset.thing_classes is not None:
        names = [category['name'] for category in categories]
        findings += unknown_things(aset, names)
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
    path = aset.source
    things = aset.thing_classes or ()
    findings = repeated('metainfo', path, aset.classes, 'class')
    findings += [
        found('metainfo', path, 'is no text with letters', 'class', name)
        for name in metainfo.unusable_names(aset.classes)
    ]
    known = set(names)
    if aset.kind == 'instance':  # which need not know stuff
        things_of = aset.classes if aset.thing_classes is None else things
        known |= set(aset.classes) - set(things_of)
    if known.isdisjoint(aset.classes):
        message = (
            f'none of the classes of the config, {reprlib.repr(aset.classes)}'
            f', is a category: categories are {reprlib.repr(names)}'
        )
        findings.append(found('metainfo', path, message))
    for name in aset.classes:
        if name not in names and name not in aset.optional_classes:
            message = (
                'is among the classes of the config, but no category: '
                f'categories are {reprlib.repr(names)}'
            )
            findings.append(found('metainfo', path, message, 'class', name))
    findings += unknown_things(aset, aset.classes)
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


def unknown_things(
    aset: AnnotationSet, classes: Iterable[str]
) -> list[Finding]:
    """Find things that are no classes."""
    message = 'is among thing_classes of the config, not among the classes'
    return [
        found('metainfo', aset.source, message, 'class', name)
        for name in metainfo.unknown_things(classes, aset.thing_classes or ())
    ]


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
    return [found('metainfo', aset.source, message)]


def check_single(aset: AnnotationSet, content: Coco) -> list[Finding]:
    """Find things that the annotations draw as they draw stuff."""
    names = {c['id']: c['name'] for c in content.categories}
    things = thing_ids(aset, content)
    images: dict = {}
    for annotation in content.annotations:
        images.setdefault(annotation['image_id'], []).extend(
            segment['category_id']
            for segment in annotation.get('segments_info', [annotation])
            if segment['category_id'] in things and not segment.get('iscrowd')
        )
    return [
        found(
            'thing-or-stuff',
            aset.ann_file,
            f'{names[number]!r} has one segment in each of its images',
            'category',
            number,
        )
        for number in metainfo.always_single(images.values())
    ]


def thing_ids(aset: AnnotationSet, content: Coco) -> set:
    """Return the ids of the categories that are things."""
    return {
        category['id']
        for category in content.categories
        if (aset.classes is None or category['name'] in aset.classes)
        and (
            category['name'] in aset.thing_classes
            if aset.thing_classes is not None
            else aset.kind == 'instance' or category.get('isthing') == 1
        )
    }


def has_thing(aset: AnnotationSet, content: Coco | dict | None) -> bool:
    """Whether an image has a thing to learn, by the annotation file."""
    if not content:
        return False
    things = thing_ids(aset, content)
    known = {image['id'] for image in content.images}
    return any(
        segment['category_id'] in things and not segment.get('iscrowd')
        for annotation in content.annotations
        if annotation['image_id'] in known
        for segment in annotation.get('segments_info', [annotation])
    )


def check_unused(
    aset: AnnotationSet, categories: list[dict], used: set
) -> list[Finding]:
    """Find classes that occur in no image."""
    level = 'warning' if aset.training else 'info'
    return [
        found(
            'unused-class',
            aset.ann_file,
            f'{category["name"]!r} is in no image',
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
    """Compare the masks to learn in an image with what the model holds."""
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
