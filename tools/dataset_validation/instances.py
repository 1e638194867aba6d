"""COCO instance annotations: polygons or run lengths per object."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _package import coco_layout, coco_masks
from pycocotools import mask as coco_mask

from . import coco, copying
from .images import check_image
from .report import CHECKS, Checked, Finding, found
from .sets import AnnotationSet

is_box, is_size = coco_layout.is_box, coco_layout.is_size

# Share of the smaller mask that the other covers.
OVERLAP, SAME = 0.1, 0.9
# Polygons are drawn between pixels and scaled with the image: their own
# area and box differ a little from those of the pixels.
AREA_SHARE, AREA_PIXELS = 0.25, 30
BOX_SHARE, BOX_PIXELS = 0.05, 3
OUTSIDE_PIXELS = 2


@dataclass
class InstanceSample:
    """One image with its objects.

    Args:
        aset (AnnotationSet): The set it belongs to.
        image (dict): Its entry among the images.
        annotations (list[dict]): Its objects.
        categories (frozenset): Known category ids.
        left_out (frozenset): Category ids that the config leaves out.
    """

    aset: AnnotationSet
    image: dict
    annotations: list[dict]
    categories: frozenset
    left_out: frozenset

    @property
    def image_path(self) -> Path:
        """File of the image."""
        return self.aset.image_path(self.image['file_name'])

    def check(self) -> Checked:
        """Look at the image and the masks of its objects."""
        size = self.image['height'], self.image['width']
        findings = check_image(self.image_path, size, 'the JSON')
        masks = []
        for annotation in self.annotations:
            rle, problems = check_object(annotation, size, self.categories)
            findings += [
                self.at(kind, text, annotation['id'])._replace(
                    level=level_of(kind, annotation)
                )
                for kind, text in problems
            ]
            if rle is not None and not annotation.get('iscrowd'):
                masks.append((annotation, rle))
        findings += [
            self.at(kind, text, number)
            for kind, text, number in check_overlaps(masks)
        ]
        to_learn = [
            annotation
            for annotation, _ in masks
            if annotation['category_id'] not in self.left_out
        ]
        if not self.annotations:
            findings.append(
                found(
                    'empty-image',
                    self.aset.ann_file,
                    f'{self.image["file_name"]} has no object',
                    'image',
                    self.image['id'],
                )
            )
        findings += coco.check_number(
            self.aset, self.aset.ann_file, self.image, len(to_learn)
        )
        used = {a['category_id'] for a in self.annotations}
        return Checked(findings, used, len(to_learn))

    def at(self, kind: str, message: str, number: int | str) -> Finding:
        """Return a finding about an object."""
        message = f'{self.image["file_name"]}: {message}'
        return found(kind, self.aset.ann_file, message, 'annotation', number)


def check_object(
    annotation: dict, size: tuple[int, int], categories: frozenset
) -> tuple[dict | None, list[tuple[str, str]]]:
    """Check one entry of the annotations.

    Args:
        annotation (dict): The entry.
        size (tuple[int, int]): Height and width of the image.
        categories (frozenset): Known category ids.

    Returns:
        tuple: The mask as COCO run lengths, None if it has no pixel or
        cannot be decoded, and kind and message of each problem.
    """
    problems = []
    category = annotation['category_id']
    if category not in categories:
        message = f'category_id {category!r} is no id of a category'
        problems.append(('unknown-category', message))
    shape = annotation['segmentation']
    try:
        rle = coco_masks.to_rle(shape, size)
    except ValueError as error:
        return None, [*problems, ('mask-invalid', str(error))]
    if isinstance(shape, list):
        problems += check_polygons(shape, size)
        if annotation.get('iscrowd') == 1:
            message = 'crowds are stored as run lengths in COCO'
            problems.append(('crowd-polygon', message))
    if not coco_mask.area(rle):
        problems.append(('mask-empty', 'its mask has no pixel'))
        return None, problems
    return rle, problems + check_measures(annotation, rle)


def level_of(kind: str, annotation: dict) -> str:
    """Return the level of a problem; evaluation needs numbers."""
    given = annotation.get(kind)
    if (kind == 'area' and not is_size(given)) or (
        kind == 'bbox' and not is_box(given)
    ):
        return 'error'
    return CHECKS[kind].level


def check_polygons(
    polygons: list[list], size: tuple[int, int]
) -> list[tuple[str, str]]:
    """Find polygons that leave the image."""
    points = np.concatenate([np.reshape(p, (-1, 2)) for p in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    limit = np.array(size[::-1])
    if (low < -OUTSIDE_PIXELS).any() or (high > limit + OUTSIDE_PIXELS).any():
        message = (
            f'points from {low.tolist()} to {high.tolist()}, the image is '
            f'{size[1]} x {size[0]}'
        )
        return [('mask-outside', message)]
    return []


def check_measures(annotation: dict, rle: dict) -> list[tuple[str, str]]:
    """Compare ``area`` and ``bbox`` with the mask."""
    problems = []
    area, box = float(coco_mask.area(rle)), coco_mask.toBbox(rle)
    given = annotation.get('area')
    tolerance = max(AREA_PIXELS, AREA_SHARE * area)
    if given is not None and not (
        is_size(given) and abs(given - area) <= tolerance
    ):
        problems.append(('area', f'area {given}, of the mask {area:.0f}'))
    given = annotation.get('bbox')
    if given is not None:
        tolerance = max(BOX_PIXELS, BOX_SHARE * max(box[2:]))
        if not is_box(given) or (np.abs(given - box) > tolerance).any():
            message = f'bbox {given}, of the mask {box.tolist()}'
            problems.append(('bbox', message))
    return problems


def check_overlaps(
    masks: list[tuple[dict, dict]],
) -> list[tuple[str, str, int | str]]:
    """Find pairs of objects that cover one another.

    Args:
        masks (list[tuple[dict, dict]]): Annotations with their run lengths.

    Returns:
        list[tuple]: Kind, message, and id of the later annotation.
    """
    if len(masks) < 2:
        return []
    rles = [rle for _, rle in masks]
    # As for crowds: the share of the first that the second covers.
    shares = coco_mask.iou(rles, rles, [1] * len(rles))
    unions = coco_mask.iou(rles, rles, [0] * len(rles))
    problems = []
    for i, j in np.argwhere(
        np.triu(np.maximum(shares, shares.T), 1) > OVERLAP
    ):
        first, second = masks[i][0], masks[j][0]
        alike = first['category_id'] == second['category_id']
        if alike and unions[i, j] > SAME:
            message = f'has the mask and class of annotation {first["id"]!r}'
            problems.append(('duplicate-mask', message, second['id']))
        else:
            share = max(shares[i, j], shares[j, i])
            message = (
                f'{share:.0%} of the smaller of it and annotation '
                f'{first["id"]!r} are in both'
            )
            problems.append(('overlap', message, second['id']))
    return problems


def plan(
    aset: AnnotationSet,
) -> tuple[list[InstanceSample], list[Finding], coco.Coco | None]:
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
    findings += [
        finding
        for finding in coco.check_images(aset, content)
        if finding.kind != 'no-annotation'  # told as 'empty-image'
    ]
    numbers = Counter(a['id'] for a in annotations)
    findings += coco.repeated(
        'duplicate-annotation-id',
        aset.ann_file,
        numbers.elements(),
        'annotation',
    )
    of_image = {}
    for annotation in annotations:
        of_image.setdefault(annotation['image_id'], []).append(annotation)
    categories = frozenset(c['id'] for c in content.categories)
    left_out = frozenset(
        c['id']
        for c in content.categories
        if aset.classes is not None and c['name'] not in aset.classes
    )
    samples = [
        InstanceSample(
            aset, image, of_image.get(image['id'], []), categories, left_out
        )
        for image in images
    ]
    return samples, findings, content


@dataclass
class InstanceFix:
    """Copies one image, and mends its objects.

    Args:
        sample (InstanceSample): The original.
        move (Move): Where it goes.
    """

    sample: InstanceSample
    move: copying.Move

    def fix(self) -> copying.Fixed:
        """Write the image and return the entries of the JSON."""
        sample = self.sample
        size = sample.image['height'], sample.image['width']
        stored, notes = copying.store_image(sample.image_path, self.move, size)
        if not stored:
            return copying.Fixed(None, [], notes)
        kept = []
        for annotation in sample.annotations:
            rle, problems = check_object(annotation, size, sample.categories)
            kinds = dict(problems)
            if 'mask-empty' in kinds:
                notes.append(self.note('mask-empty', 'dropped', annotation))
                continue
            annotation = dict(annotation)
            true = dict(
                area=rle and float(coco_mask.area(rle)),
                bbox=rle and coco_mask.toBbox(rle).tolist(),
            )
            for kind in kinds.keys() & true.keys():
                annotation[kind] = true[kind]
                message = f'{kinds[kind]}, set'
                notes.append(self.note(kind, message, annotation))
            kept.append(annotation)
        return copying.Fixed(sample.image, kept, notes)

    def note(self, kind: str, message: str, annotation: dict) -> Finding:
        """Return a note about an object."""
        file_name = self.sample.image['file_name']
        return copying.note(
            kind,
            self.sample.aset.ann_file,
            f'{file_name}: {message}',
            'annotation',
            annotation['id'],
        )
