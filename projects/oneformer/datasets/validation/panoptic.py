"""COCO panoptic annotations: a JSON, and a PNG of segment ids per picture."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from . import coco
from .pictures import (
    Png,
    check_picture,
    decode,
    read_picture,
    read_png,
)
from .report import Finding, found
from .sets import AnnotationSet

MAX_ID = 256**3 - 1
# Boxes are stored with and without the last pixel.
BOX_TOLERANCE = 1


class Checked(NamedTuple):
    """What a look at one picture gave.

    Attributes:
        findings (list[Finding]): What is wrong.
        used (set): Category ids, or values, that occur.
        number (int): Masks to learn.
    """

    findings: list[Finding]
    used: set
    number: int


class Reading(NamedTuple):
    """The ids of a PNG.

    Attributes:
        ids (np.ndarray | None): Segment ids, int64 (H, W), if they can be
            had.
        kind (str, optional): Kind of the finding, if it is not as it should.
        message (str): What is wrong with it.
    """

    ids: np.ndarray | None
    kind: str | None = None
    message: str = ''


class Measure(NamedTuple):
    """Area in pixels, and box as x, y, width, height, of a segment."""

    area: int
    bbox: list[int]


@dataclass
class PanopticPicture:
    """One picture with its panoptic annotation.

    Args:
        aset (AnnotationSet): The set it belongs to.
        image (dict): Its entry among the images.
        annotation (dict, optional): Its entry among the annotations.
        categories (frozenset): Known category ids.
        left_out (frozenset): Category ids that the config makes void.
    """

    aset: AnnotationSet
    image: dict
    annotation: dict | None
    categories: frozenset
    left_out: frozenset = field(default_factory=frozenset)

    @property
    def image_path(self) -> Path:
        """File of the picture."""
        return self.aset.image_path(self.image['file_name'])

    @property
    def png_path(self) -> Path:
        """File of the ids."""
        return self.aset.seg_dir / self.annotation['file_name']

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the JSON says."""
        return self.image['height'], self.image['width']

    def check(self) -> Checked:
        """Look at the picture, its segments and its PNG."""
        findings = check_picture(self.image_path, self.size, 'the JSON')
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
        """Return the segments that have all keys, and what is wrong."""
        findings, segments = [], []
        name = self.annotation['file_name']
        path = self.aset.ann_file
        for index, segment in enumerate(self.annotation['segments_info']):
            problem = coco.entry_problem(segment, ('id', 'category_id'))
            if problem:
                message = f'segments_info of {name}: {problem}'
                findings.append(
                    found('json-layout', path, message, 'entry', index)
                )
                continue
            segments.append(segment)
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
                found(
                    'empty-picture', path, message, 'image', self.image['id']
                )
            )
        return segments, findings

    def segment_problems(self, segment: dict) -> list[tuple[str, str]]:
        """Return kind and message of what one entry shows to be wrong."""
        problems = []
        number, category = segment['id'], segment['category_id']
        if number == 0:
            problems.append(('id-zero', 'ids begin with 1'))
        elif type(number) is not int or not 0 < number <= MAX_ID:
            message = f'expected a whole number from 1 to {MAX_ID}'
            problems.append(('bad-id', message))
        if category not in self.categories:
            message = f'category_id {category!r} is no id of a category'
            problems.append(('unknown-category', message))
        if segment.get('iscrowd', 0) not in (0, 1):
            message = f'iscrowd is {segment["iscrowd"]!r}'
            problems.append(('iscrowd', message))
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
                f'is {width} x {height} (width x height), its picture '
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
        listed = {segment['id'] for segment in segments}
        for number in measures.keys() - listed - {0}:
            message = (
                f'has {measures[number].area} pixels and is not listed in '
                'the JSON'
            )
            findings.append(
                found('unlisted-id', path, message, 'segment', number)
            )
        return findings


def read_ids(png: Png, expected: set) -> Reading:
    """Return the segment ids of a PNG, in whichever way it stores them.

    Args:
        png (Png): The PNG.
        expected (set): Ids that the JSON lists: of several ways to read the
            PNG, the one that shows some of them is taken.
    """
    ways = readings(png)
    hits = {
        name: len(expected.intersection(np.unique(ids).tolist()))
        for name, ids in ways.items()
    }
    first = next(iter(ways))
    best = max(hits, key=hits.get)
    usual = (png.kind, png.bits) == ('RGB', 8)
    if usual and (best == first or not expected):
        return Reading(ways[first])
    if (
        png.kind == 'palette'
        and expected
        and hits['its colours'] > max(0, hits['its values'])
    ):
        message = (
            'is read here by its colours; tools that read palette indices '
            'get other ids'
        )
        return Reading(ways['its colours'], 'png-palette', message)
    message = (
        f'is {png}, expected RGB with 8 bits, where red + 256 green + 65536 '
        'blue is the segment id'
    )
    clear = list(hits.values()).count(hits[best]) == 1
    if not hits[best] or not clear:
        return Reading(None, 'png-mode', message)
    return Reading(ways[best], 'png-mode', f'{message}; {best} are the ids')


def readings(png: Png) -> dict[str, np.ndarray]:
    """Return the ids, int64 (H, W), for each way to read the PNG."""
    values = png.values
    if png.kind == 'palette':
        return {
            'its colours': decode(png.palette[values]),
            'its values': values.astype(np.int64),
        }
    if values.ndim == 2:
        return {'its values': values.astype(np.int64)}
    if png.kind == 'grey-alpha':
        return {'its grey values': values[..., 0].astype(np.int64)}
    if png.bits == 16:
        values, note = _to_8_bits(values)
    else:
        note = ''
    return {
        f'its colours{note}': decode(values),
        f'its colours in the order blue, green, red{note}': decode(
            values[..., [2, 1, 0]]
        ),
    }


def _to_8_bits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Undo the two usual ways to widen 8 bits to 16."""
    colors = values[..., :3]
    if (colors % 257 == 0).all():
        return colors // 257, ' divided by 257'
    return colors, ''


def measure(ids: np.ndarray) -> dict[int, Measure]:
    """Return area and box of every id."""
    numbers, places, areas = np.unique(
        ids, return_inverse=True, return_counts=True
    )
    boxes = ndimage.find_objects(places.reshape(ids.shape) + 1)
    return {
        int(number): Measure(
            int(area),
            [
                columns.start,
                rows.start,
                columns.stop - columns.start,
                rows.stop - rows.start,
            ],
        )
        for number, area, (rows, columns) in zip(
            numbers, areas, boxes, strict=True
        )
    }


def differences(segment: dict, true: Measure) -> list[tuple[str, str]]:
    """Return kind and message of wrong ``area`` and ``bbox``."""
    problems = []
    if 'area' in segment and segment['area'] != true.area:
        message = f'area {segment["area"]}, in the PNG {true.area}'
        problems.append(('area', message))
    if 'bbox' in segment:
        try:
            box = np.array(segment['bbox'], float)
            near = box.shape == (4,) and bool(
                (np.abs(box - true.bbox) <= BOX_TOLERANCE).all()
            )
        except (TypeError, ValueError):
            near = False
        if not near:
            message = f'bbox {segment["bbox"]}, in the PNG {true.bbox}'
            problems.append(('bbox', message))
    return problems


def plan(
    aset: AnnotationSet,
) -> tuple[list[PanopticPicture], list[Finding], dict]:
    """Check the JSON, and return the pictures to look at.

    Returns:
        tuple: Pictures, findings in the JSON, and its content (None if
        unreadable).
    """
    content, findings = coco.check_layout(aset)
    if content is None:
        return [], findings, None
    images, annotations = content['images'], content['annotations']
    findings += coco.check_categories(aset, content['categories'])
    findings += coco.check_images(aset, images, annotations)
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
    categories = frozenset(c['id'] for c in content['categories'])
    left_out = frozenset(
        c['id']
        for c in content['categories']
        if aset.classes is not None and c['name'] not in aset.classes
    )
    pictures = [
        PanopticPicture(
            aset, image, of_image.get(image['id']), categories, left_out
        )
        for image in images
    ]
    return pictures, findings, content


def fitting_size(picture: PanopticPicture) -> tuple[int, int] | None:
    """Return the size that picture and PNG agree on, if they do."""
    try:
        size = read_picture(picture.image_path).read_size
        png = read_png(picture.png_path)
    except (OSError, ValueError):
        return None
    return size if size == png.values.shape[:2] else None
