"""COCO panoptic annotations: a JSON, and a PNG of segment ids per image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _annotations import Measure, measure, read_png, write_ids
from _package import coco_layout, segment_ids

from . import coco, copying
from .images import check_image, read_image
from .panoptic_png import read_ids
from .report import Checked, Finding, found
from .sets import AnnotationSet

# Boxes are stored with and without the last pixel.
BOX_TOLERANCE = 1


@dataclass
class PanopticSample:
    """One image with its panoptic annotation.

    Args:
        aset (AnnotationSet): The set it belongs to.
        image (dict): Its entry among the images.
        annotation (dict, optional): Its entry among the annotations.
        categories (frozenset): Known category ids.
        left_out (frozenset): Category ids that the config makes void.
        refused (list): Segments of the annotation that cannot be read.
    """

    aset: AnnotationSet
    image: dict
    annotation: dict | None
    categories: frozenset
    left_out: frozenset = field(default_factory=frozenset)
    refused: list = field(default_factory=list)

    @property
    def image_path(self) -> Path:
        """File of the image."""
        return self.aset.image_path(self.image['file_name'])

    @property
    def png_path(self) -> Path:
        """File of the ids."""
        return self.aset.seg_dir / self.annotation['file_name']

    @property
    def refused_ids(self) -> set[int]:
        """Ids of the segments that cannot be read, as far as they have one."""
        entries = (e for e in self.refused if isinstance(e, dict))
        return {e['id'] for e in entries if type(e.get('id')) is int}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the JSON says."""
        return self.image['height'], self.image['width']

    def check(self) -> Checked:
        """Look at the image, its segments and its PNG."""
        findings = check_image(self.image_path, self.size, 'the JSON')
        if self.annotation is None:
            return Checked(findings, set(), 0)
        segments, more = self.check_segments()
        findings += more
        measures, more = self.check_png(segments)
        findings += more
        used = {segment['category_id'] for segment in segments}
        to_learn = [
            segment
            for segment in segments
            if not segment.get('iscrowd')
            and segment['category_id'] not in self.left_out
            and (measures is None or segment['id'] in measures)
        ]
        findings += coco.check_number(
            self.aset, self.aset.ann_file, self.image, len(to_learn)
        )
        return Checked(findings, used, len(to_learn))

    def check_segments(self) -> tuple[list[dict], list[Finding]]:
        """Return the segments, and what is wrong with them."""
        findings = []
        name = self.annotation['file_name']
        path = self.aset.ann_file
        segments = self.annotation['segments_info']
        for segment in segments:
            for kind, message in self.segment_problems(segment):
                findings.append(
                    found(
                        kind,
                        path,
                        f'{name}: {message}',
                        'segment',
                        segment['id'],
                    )
                )
        numbers = Counter(segment['id'] for segment in segments)
        for number, times in numbers.items():
            if times > 1:
                message = f'{name}: {times} segments have this id'
                findings.append(
                    found(
                        'duplicate-segment-id',
                        path,
                        message,
                        'segment',
                        number,
                    )
                )
        if not segments:
            message = f'{self.image["file_name"]} has no segment'
            findings.append(
                found('empty-image', path, message, 'image', self.image['id'])
            )
        return segments, findings

    def segment_problems(self, segment: dict) -> list[tuple[str, str]]:
        """Return kind and message of what one entry shows to be wrong."""
        problems = []
        number, category = segment['id'], segment['category_id']
        if number == 0:
            problems.append(('id-zero', 'ids begin with 1'))
        elif type(number) is not int or not 0 < number <= segment_ids.MAX_ID:
            message = f'expected a whole number from 1 to {segment_ids.MAX_ID}'
            problems.append(('bad-id', message))
        if category not in self.categories:
            message = f'category_id {category!r} is no id of a category'
            problems.append(('unknown-category', message))
        return problems

    def check_png(
        self, segments: list[dict]
    ) -> tuple[dict[int, Measure] | None, list[Finding]]:
        """Return the segments that the PNG shows, and what is wrong."""
        path = self.png_path
        try:
            png = read_png(path)
        except FileNotFoundError:
            message = 'does not exist: restore it, or correct the folder'
            return None, [found('png-missing', path, message)]
        except ValueError as error:
            message = f'cannot be read: {error}'
            return None, [found('png-unreadable', path, message)]
        reading = read_ids(png, {segment['id'] for segment in segments})
        findings = []
        if reading.kind:
            findings.append(found(reading.kind, path, reading.message))
        if png.values.shape[:2] != self.size:
            height, width = png.values.shape[:2]
            message = (
                f'is {width} x {height} (width x height), its image '
                f'{self.size[1]} x {self.size[0]} in the JSON'
            )
            findings.append(found('png-size', path, message))
        if reading.ids is None:
            return None, findings
        measures = measure(reading.ids)
        return measures, findings + self.compare(segments, measures)

    def compare(
        self, segments: list[dict], measures: dict[int, Measure]
    ) -> list[Finding]:
        """Compare the entries of the JSON with the pixels of the PNG."""
        findings = []
        path = self.png_path
        for segment in segments:
            number = segment['id']
            if number == 0:  # told already
                continue
            if number not in measures:
                message = 'is listed in the JSON, and has no pixel'
                findings.append(
                    found('missing-id', path, message, 'segment', number)
                )
                continue
            for kind, message in differences(segment, measures[number]):
                message = f'{self.annotation["file_name"]}: {message}'
                findings.append(
                    found(kind, self.aset.ann_file, message, 'segment', number)
                )
        listed = {segment['id'] for segment in segments} | self.refused_ids
        for number in measures.keys() - listed - {0}:
            message = (
                f'has {measures[number].area} pixels and is not listed in '
                'the JSON'
            )
            findings.append(
                found('unlisted-id', path, message, 'segment', number)
            )
        return findings


def differences(segment: dict, true: Measure) -> list[tuple[str, str]]:
    """Return kind and message of wrong ``area`` and ``bbox``."""
    problems = []
    if 'area' in segment and segment['area'] != true.area:
        message = f'area {segment["area"]}, in the PNG {true.area}'
        problems.append(('area', message))
    if 'bbox' in segment:
        box = segment['bbox']
        if (
            not coco_layout.is_box(box)
            or (np.abs(np.subtract(box, true.bbox)) > BOX_TOLERANCE).any()
        ):
            message = f'bbox {segment["bbox"]}, in the PNG {true.bbox}'
            problems.append(('bbox', message))
    return problems


def plan(
    aset: AnnotationSet,
) -> tuple[list[PanopticSample], list[Finding], coco.Coco | None]:
    """Check the JSON, and return the images to look at.

    Returns:
        tuple: Images, findings in the JSON, and its content (None if
        unreadable).
    """
    content, findings = coco.check_layout(aset)
    if content is None:
        return [], findings, None
    images, annotations = content.images, content.annotations
    findings += coco.check_categories(aset, content.categories)
    findings += coco.check_images(aset, content)
    findings += coco.repeated(
        'several-annotations',
        aset.ann_file,
        (a['image_id'] for a in annotations),
        'image',
    )
    findings += coco.repeated(
        'shared-png',
        aset.ann_file,
        (a['file_name'] for a in annotations),
        'file',
    )
    of_image = {a['image_id']: a for a in reversed(annotations)}
    categories = frozenset(c['id'] for c in content.categories)
    left_out = frozenset(
        c['id']
        for c in content.categories
        if aset.classes is not None and c['name'] not in aset.classes
    )
    refused: dict[int, list] = {}
    for remark in content.remarks:
        if remark.part == 'segments_info' and remark.kind != coco.READ:
            refused.setdefault(id(remark.owner), []).append(remark.entry)
    samples = []
    for image in images:
        annotation = of_image.get(image['id'])
        samples.append(
            PanopticSample(
                aset,
                image,
                annotation,
                categories,
                left_out,
                refused.get(id(annotation), []),
            )
        )
    return samples, findings, content


def fitting_size(sample: PanopticSample) -> tuple[int, int] | None:
    """Return the size that image and PNG agree on, if they do."""
    try:
        size = read_image(sample.image_path).read_size
        png = read_png(sample.png_path)
    except (OSError, ValueError):
        return None
    return size if size == png.values.shape[:2] else None


@dataclass
class PanopticFix:
    """Copies one image with its PNG.

    Args:
        sample (PanopticSample): The original.
        move (Move): Where it goes.
    """

    sample: PanopticSample
    move: copying.Move

    def fix(self) -> copying.Fixed:
        """Write the files and return the entries of the JSON."""
        sample, image = self.sample, dict(self.sample.image)
        notes, segments = [], None
        if sample.annotation:
            try:
                png = read_png(sample.png_path)
            except FileNotFoundError:
                return self.left_out('png-missing')
            except ValueError:
                return self.left_out('png-unreadable')
            size = fitting_size(sample)
            if size not in (None, sample.size):
                image['height'], image['width'] = size
                message = f'height and width set to {size[0]}, {size[1]}'
                notes.append(self.note('image-size', message))
        size = image['height'], image['width']
        stored, more = copying.store_image(sample.image_path, self.move, size)
        if not stored:
            return copying.Fixed(None, [], more)
        notes += more
        if not sample.annotation:
            return copying.Fixed(image, [], notes)
        if png.values.shape[:2] == size:
            segments, more = self.fix_segments(png)
            notes += more
        self.move.copy(sample.png_path)
        annotation = dict(sample.annotation)
        if segments is not None:
            annotation['segments_info'] = segments
        # What is not readable is nobody's to mend.
        annotation['segments_info'] = [
            *annotation['segments_info'],
            *self.sample.refused,
        ]
        return copying.Fixed(image, [annotation], notes)

    def left_out(self, kind: str) -> copying.Fixed:
        """Leave the image out for its PNG."""
        path = self.sample.png_path
        note = copying.note(kind, path, 'image left out')
        return copying.Fixed(None, [], [note])

    def note(
        self, kind: str, message: str, number: int | None = None
    ) -> Finding:
        """Return a note about a segment, or the image as a whole."""
        where = ('segment', number)
        if number is None:
            where = ('image', self.sample.image['id'])
        message = f'{self.sample.image["file_name"]}: {message}'
        return copying.note(kind, self.sample.aset.ann_file, message, *where)

    def fix_segments(self, png) -> tuple[list | None, list[Finding]]:
        """Make PNG and JSON agree; write the PNG if it changed.

        Returns:
            tuple: The segments, None if nothing is sure, and what was done.
        """
        good = self.sample.annotation['segments_info']
        listed = {entry['id'] for entry in good}
        reading = read_ids(png, listed)
        if reading.ids is None:
            return None, []
        ids = reading.ids.copy()
        if listed and listed.isdisjoint(np.unique(ids).tolist()):
            return None, []  # of another image, or another kind of PNG
        notes = []
        if reading.kind:
            path = self.sample.png_path
            notes.append(copying.note(reading.kind, path, 'converted to RGB'))
        segments = self.drop_repeated(good, notes)
        segments = self.replace_zero(segments, ids, notes)
        if not self.sample.refused:  # whose pixels they may be
            self.clear_unlisted(segments, ids, notes)
        segments = self.match(segments, ids, notes)
        if reading.kind or (ids != reading.ids).any():
            write_ids(self.move.path(self.sample.png_path), ids)
        return segments, notes

    def drop_repeated(self, segments: list, notes: list) -> list[dict]:
        """Drop entries that say what another one says."""
        kept = []
        for segment in segments:
            if segment in kept:
                message = 'an entry that says the same is dropped'
                notes.append(
                    self.note('duplicate-segment-id', message, segment['id'])
                )
            else:
                kept.append(segment)
        return kept

    def replace_zero(
        self, segments: list, ids: np.ndarray, notes: list
    ) -> list[dict]:
        """Give the segment with id 0 another, if its area proves it."""
        zeros = [s for s in segments if s['id'] == 0]
        pixels = ids == 0
        if len(zeros) != 1 or zeros[0].get('area') != pixels.sum():
            return segments
        taken = {s['id'] for s in segments} | set(np.unique(ids).tolist())
        free = next(n for n in range(1, len(taken) + 2) if n not in taken)
        ids[pixels] = free
        notes.append(self.note('id-zero', f'is {free} now', 0))
        return [dict(s, id=free) if s['id'] == 0 else s for s in segments]

    def clear_unlisted(
        self, segments: list, ids: np.ndarray, notes: list
    ) -> None:
        """Make the pixels of ids void that no segment has."""
        listed = {s['id'] for s in segments} | {0}
        for number in set(np.unique(ids).tolist()) - listed:
            pixels = ids == number
            ids[pixels] = 0
            message = f'{pixels.sum()} pixels are void now'
            notes.append(self.note('unlisted-id', message, number))

    def match(
        self, segments: list, ids: np.ndarray, notes: list
    ) -> list[dict]:
        """Drop segments without pixels, set area and box of the others."""
        measures = measure(ids)
        kept = []
        for segment in segments:
            number = segment['id']
            if number not in measures and type(number) is int and number > 0:
                notes.append(self.note('missing-id', 'dropped', number))
                continue
            if number in measures and number != 0:
                true = measures[number]._asdict()
                for kind, message in differences(segment, measures[number]):
                    segment = dict(segment, **{kind: true[kind]})
                    notes.append(self.note(kind, f'{message}, set', number))
            kept.append(segment)
        return kept


def fix_isthing(
    aset: AnnotationSet,
    content: coco.Coco,
    sets: Sequence[AnnotationSet],
    things: tuple[str, ...],
) -> tuple[list[dict], list[Finding]]:
    """Add ``isthing`` to the categories that lack it, where it is known.

    In this order ``things``, ``thing_classes`` of the config, the other
    annotation files and the annotations themselves are asked: a class that
    has a crowd, or two segments in an image, is a thing.
    """
    categories, notes = [], []
    named = things or aset.thing_classes or ()
    others = None
    for category in content.categories:
        category, flag = dict(category), category.get('isthing')
        if flag not in (0, 1):
            if others is None:
                others = _flags(content, sets)
            known = others.get(category['name'])
            if named:
                known = int(category['name'] in named)
            if known is not None:
                category['isthing'] = known
                notes.append(
                    copying.note(
                        'isthing-missing',
                        aset.ann_file,
                        f'{category["name"]!r} has isthing {known} now',
                        'category',
                        category['id'],
                    )
                )
        categories.append(category)
    return categories, notes


def _flags(
    content: coco.Coco, sets: Sequence[AnnotationSet]
) -> dict[str, int]:
    """Return ``isthing`` by class name, as far as it can be told."""
    names = {c['id']: c['name'] for c in content.categories}
    flags = {}
    for annotation in content.annotations:
        seen = set()
        for segment in annotation['segments_info']:
            category = segment['category_id']
            if category in names and (
                segment.get('iscrowd') == 1 or category in seen
            ):
                flags[names[category]] = 1
            seen.add(category)
    # Panoptic files last, as theirs is the last word.
    for aset in sorted(sets, key=lambda aset: aset.kind == 'panoptic'):
        # COCO has its stuff classes in the form of instances, too.
        if aset.ann_file is None or 'stuff' in aset.ann_file.name:
            continue
        other = coco.check_layout(aset)[0]
        for category in other.categories if other else ():
            if aset.kind == 'instance':
                flags[category['name']] = 1
            elif category.get('isthing') in (0, 1):
                flags[category['name']] = int(category['isthing'])
    return flags
