"""What can be wrong with a data set, and the report of what is."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

# Keys of the JSON report.
PATHS = ('annotations', 'images', 'pngs')
LEVELS = ('error', 'warning', 'info')


class Check(NamedTuple):
    """A kind of violation.

    Attributes:
        level (str): One of ``LEVELS``, unless a finding has its own.
        title (str): What all findings of the kind have in common.
        fix (str): What a corrected copy does about it; empty for nothing.
    """

    level: str
    title: str
    fix: str = ''


REMOVE = 'the image is left out'
CHECKS = {
    # The files of an image.
    'image-missing': Check('error', 'image does not exist', REMOVE),
    'image-unreadable': Check('error', 'image cannot be read', REMOVE),
    'image-size': Check(
        'error',
        'image has not the size of its annotation',
        'height and width of the JSON are set, if PNG and image agree',
    ),
    'image-depth': Check(
        'warning', 'image has more than 8 bits, which are scaled to 8'
    ),
    'exif-rotation': Check(
        'error',
        'EXIF tag turns the image away from its annotation',
        'the tag is cleared, the pixels stay',
    ),
    'exif-turned': Check(
        'warning',
        'EXIF tag turns the image',
        'it is stored turned, if the size shows that it then fits',
    ),
    'png-missing': Check('error', 'PNG does not exist', REMOVE),
    'png-unreadable': Check('error', 'PNG is damaged', REMOVE),
    'png-size': Check('error', 'PNG has not the size of its image'),
    'png-mode': Check(
        'error',
        'PNG stores its values in the wrong way',
        'it is converted, if that brings the values of the annotation back',
    ),
    'png-palette': Check(
        'warning',
        'PNG has a palette whose colours are the segment ids',
        'it is converted to RGB',
    ),
    'unlisted-image': Check(
        'warning', 'image in the folder that no annotation lists', 'dropped'
    ),
    'unlisted-png': Check(
        'info', 'PNG in the folder that no annotation lists', 'dropped'
    ),
    # The JSON as a whole.
    'json-unreadable': Check('error', 'annotation file cannot be read'),
    'empty-set': Check('error', 'no image with an annotation'),
    'json-layout': Check('error', 'entry of the JSON lacks something'),
    'json-value': Check(
        'warning',
        'value of another type than COCO, read by its meaning',
        'it is written as COCO does',
    ),
    'duplicate-image-id': Check(
        'error',
        'image id used twice',
        'an entry that says the same is dropped',
    ),
    'duplicate-file': Check('warning', 'image listed twice'),
    'shared-png': Check('error', 'PNG used by several images'),
    'unknown-image': Check(
        'error',
        'annotation of an image that is not listed',
        'the annotation is dropped',
    ),
    'several-annotations': Check('error', 'several annotations of an image'),
    'no-annotation': Check('warning', 'image without annotation'),
    'empty-image': Check('warning', 'image without any segment'),
    # Classes.
    'duplicate-category-id': Check('error', 'category id used twice'),
    'duplicate-category-name': Check('error', 'category name used twice'),
    'isthing-missing': Check(
        'error',
        "category without 'isthing' (1 or 0)",
        'it is added, if another annotation file, --things, the config or the '
        'annotations tell',
    ),
    'isthing-conflict': Check(
        'warning', "'isthing' differs from thing_classes of the config"
    ),
    'category-zero': Check(
        'info', 'category id 0, which some other tools take for background'
    ),
    'thing-or-stuff': Check(
        'info', 'thing with one segment in each of many images, as stuff has'
    ),
    'unused-class': Check('warning', 'class that no segment has'),
    'metainfo': Check('error', 'config contradicts the annotations'),
    'category-left-out': Check(
        'warning', 'category that the config leaves out, so that it is void'
    ),
    # Segments.
    'id-zero': Check(
        'error',
        'segment id 0, which stands for void',
        'it gets a free id, if its area is that of the pixels with id 0',
    ),
    'bad-id': Check('error', 'segment id that a PNG cannot hold'),
    'duplicate-segment-id': Check(
        'error',
        'segment id used twice in an image',
        'an entry that says the same is dropped',
    ),
    'duplicate-annotation-id': Check(
        'error', 'annotation id used twice', 'the later one gets a free id'
    ),
    'unknown-category': Check('error', 'segment of an unknown category'),
    'missing-id': Check(
        'error',
        'segment of the JSON without a pixel in the PNG',
        'the segment is dropped',
    ),
    'unlisted-id': Check(
        'error',
        'id in the PNG that the JSON does not list',
        'its pixels become void',
    ),
    'iscrowd': Check('error', "'iscrowd' is neither 0 nor 1"),
    'area': Check('warning', 'area is not that of the mask', 'it is set'),
    'bbox': Check('warning', 'box is not that of the mask', 'it is set'),
    'too-many-segments': Check(
        'warning', 'image has more segments than the model has queries'
    ),
    'too-many-texts': Check(
        'info', 'image has more segments than the model has text slots'
    ),
    # Masks of COCO instance annotations.
    'mask-invalid': Check('error', 'segmentation cannot be decoded'),
    'mask-empty': Check(
        'error', 'segmentation without a pixel', 'the annotation is dropped'
    ),
    'mask-outside': Check('warning', 'polygon reaches out of its image'),
    'crowd-polygon': Check('warning', 'crowd drawn as polygon'),
    'overlap': Check('warning', 'instances that cover one another'),
    'duplicate-mask': Check('warning', 'object annotated twice'),
    # Semantic PNGs.
    'png-value': Check('error', 'value that is no class'),
    'png-stray': Check('error', 'PNG was compressed or scaled smoothly'),
    'ignored-foreground': Check(
        'error', 'all PNGs have one class, and pixels that are ignored'
    ),
}


class Finding(NamedTuple):
    """One violation.

    Attributes:
        kind (str): Key of ``CHECKS``.
        file (str): The file that is wrong.
        message (str): What was expected and what is there.
        what (str, optional): What ``id`` counts: 'segment', 'image', ...
        id (int | str, optional): Which one it is.
        level (str): One of ``LEVELS``.
    """

    kind: str
    file: str
    message: str
    what: str | None
    id: int | str | None
    level: str

    def __str__(self) -> str:
        place = f' {self.what} {self.id!r}:' if self.what else ''
        return f'{self.file}:{place} {self.message}'


def found(
    kind: str,
    file,
    message: str,
    what: str | None = None,
    id: int | str | None = None,
    level: str | None = None,
) -> Finding:
    """Return a finding with the usual level of its kind."""
    level = level or CHECKS[kind].level
    return Finding(kind, str(file), message, what, id, level)


class Checked(NamedTuple):
    """What a look at one image gave.

    Attributes:
        findings (list[Finding]): What is wrong.
        used (set): Category ids, or values, that occur.
        number (int): Masks to learn.
        ignored (bool): Whether a semantic PNG has pixels that are ignored.
    """

    findings: list[Finding]
    used: set
    number: int
    ignored: bool = False


class Report:
    """All findings, with a line about each annotation set.

    Args:
        summaries (Iterable[dict]): For each set ``name``, ``kind``, ``text``
            and the paths.
        findings (Iterable[Finding]): In the order of the data.
    """

    def __init__(
        self, summaries: Iterable[dict], findings: Iterable[Finding]
    ) -> None:
        self.summaries = list(summaries)
        self.findings = list(findings)

    def count(self, level: str) -> int:
        """Return how many findings have a level."""
        return sum(finding.level == level for finding in self.findings)

    def exit_code(self, strict: bool = False) -> int:
        """Return 1 for errors, and if ``strict`` for warnings, else 0."""
        wrong = self.count('error') + strict * self.count('warning')
        return int(wrong > 0)

    def text(self, max_examples: int = 5) -> str:
        """Return the report for people, grouped by kind."""
        base = self.base()
        lines = [f'All paths are below {base}.'] if base else []
        for summary in self.summaries:
            lines += ['', f'{summary["name"]}: {summary["text"]}']
            lines += [
                f'    {key:<11} {relative(summary[key], base)}'
                for key in PATHS
                if key in summary
            ]
        for level in LEVELS:
            kinds = Counter(f.kind for f in self.findings if f.level == level)
            for kind in CHECKS:
                if kind in kinds:
                    lines += self._group(level, kind, base, max_examples)
        text = '\n'.join([*lines, '', self.verdict()])
        # Names that are not UTF-8 cannot be printed as they are.
        return text.encode(errors='backslashreplace').decode()

    def base(self) -> str:
        """Return the folder that holds all the files, '' if none does."""
        paths = [s[key] for s in self.summaries for key in PATHS if key in s]
        if not paths or len({os.path.isabs(path) for path in paths}) > 1:
            return ''
        return os.path.commonpath(paths)

    def _group(
        self, level: str, kind: str, base: str, max_examples: int
    ) -> list[str]:
        group = [
            finding
            for finding in self.findings
            if (finding.level, finding.kind) == (level, kind)
        ]
        lines = ['', f'{level} {kind} ({len(group)}): {CHECKS[kind].title}']
        lines += [
            f'    {finding._replace(file=relative(finding.file, base))}'
            for finding in group[:max_examples]
        ]
        if len(group) > max_examples:
            lines.append(f'    ... and {len(group) - max_examples} more')
        return lines

    def verdict(self) -> str:
        """Return the counts in one line."""
        counts = [
            plural(self.count(level), noun)
            for level, noun in zip(
                LEVELS, ('error', 'warning', 'remark'), strict=True
            )
        ]
        return f'{", ".join(counts)}.'

    def to_json(self) -> str:
        """Return everything, for programs."""
        content = dict(
            counts={level: self.count(level) for level in LEVELS},
            sets=self.summaries,
            findings=[finding._asdict() for finding in self.findings],
        )
        return json.dumps(content, indent=1)


def relative(path: str, base: str) -> str:
    """Return a path as it is below a folder, others as they are."""
    return path.removeprefix(base + os.sep) if base else path


def plural(number: int, noun: str) -> str:
    """``(2, 'error')`` -> ``'2 errors'``."""
    return f'{number} {noun}' + 's' * (number != 1)
