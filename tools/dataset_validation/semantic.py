"""Semantic annotations: a grey PNG per image, its values are classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _annotations import Png, read_label_map, write_png
from _package import annotation_png, file_names

from . import coco, copying
from .images import check_image, list_images
from .report import Checked, Finding, found
from .sets import AnnotationSet

has_stray_values = annotation_png.has_stray_values


@dataclass
class SemanticSample:
    """One image with its map of classes.

    Args:
        aset (AnnotationSet): The set it belongs to.
        image_path (Path): File of the image.
        png_path (Path): File of the map.
    """

    aset: AnnotationSet
    image_path: Path
    png_path: Path

    def check(self) -> Checked:
        """Look at the map, and compare the image with it."""
        path = self.png_path
        try:
            png = read_label_map(path)
        except FileNotFoundError:
            message = f'does not exist, but {self.image_path} does'
            return Checked([found('png-missing', path, message)], set(), 0)
        except ValueError as error:
            message = f'cannot be read: {error}'
            return Checked([found('png-unreadable', path, message)], set(), 0)
        findings = check_image(
            self.image_path, png.values.shape[:2], 'its PNG'
        )
        values = class_values(png)
        if not png.is_label_map:
            note = '' if values is None else '; its channels are equal'
            message = f'is {png}, expected grey or a palette{note}'
            findings.append(found('png-mode', path, message))
        if values is None:
            return Checked(findings, set(), 0)
        present = set(np.unique(values).tolist())
        ignored = present & self.ignored
        used = present - ignored
        findings += self.check_values(values, used)
        return Checked(findings, used, len(used), bool(ignored))

    @property
    def ignored(self) -> set[int]:
        """Values that are no class."""
        zero = {0} if self.aset.reduce_zero_label else set()
        return {self.aset.ignore_index} | zero

    def check_values(self, values: np.ndarray, used: set) -> list[Finding]:
        """Find values that are no class, and maps without any."""
        findings = []
        path, number = self.png_path, self.aset.num_classes
        if has_stray_values(values):
            return [found('png-stray', path, annotation_png.STRAY)]
        for value in sorted(used) if number is not None else ():
            if value >= number:
                message = (
                    f'has {(values == value).sum()} pixels: expected classes '
                    f'from 0 to {number - 1}, or {self.aset.ignore_index} '
                    'to ignore'
                )
                findings.append(
                    found('png-value', path, message, 'value', int(value))
                )
        if not used:
            message = 'all pixels are to be ignored'
            findings.append(found('empty-image', path, message))
        return findings


def class_values(png: Png) -> np.ndarray | None:
    """Return the classes of a PNG, (H, W), if it shows one per pixel."""
    if png.values.ndim == 2:
        return png.values
    channels = 1 if png.kind == 'grey-alpha' else 3
    colors = png.values[..., :channels]
    if png.values.ndim > 3 or (colors != colors[..., :1]).any():
        return None
    return colors[..., 0]


def plan(
    aset: AnnotationSet,
) -> tuple[list[SemanticSample], list[Finding], dict]:
    """Pair images and PNGs by name.

    Returns:
        tuple: Images, what has no partner, and an empty content.
    """
    image_end, label_end = aset.label_name
    suffix = label_end + aset.seg_suffix
    pairs, left = file_names.pair_label_maps(
        aset.image_dir, aset.seg_dir, aset.img_suffix, suffix, image_end
    )
    samples, findings, seen = [], check_classes(aset), {}
    for pair in pairs:
        image = aset.image_dir / pair.image
        name = pair.label_map or pair.stem + suffix
        if pair.stem in seen:
            message = f'shares {name} with {seen[pair.stem]}'
            findings.append(found('shared-png', image, message))
        seen[pair.stem] = image
        samples.append(SemanticSample(aset, image, aset.seg_dir / name))
    for path in list_images(aset.image_dir) if aset.img_suffix else ():
        if file_names.image_stem(path.name, aset.img_suffix) is None and (
            aset.image_dir != aset.seg_dir
            or file_names.image_stem(path.name, suffix) is None
        ):
            message = f'does not end in {aset.img_suffix}, the img_suffix'
            findings.append(found('unlisted-image', path, message))
    for name in left:
        message = f'no image of that name in {aset.image_dir}'
        findings.append(found('unlisted-png', aset.seg_dir / name, message))
    return samples, findings, {}


def check_classes(aset: AnnotationSet) -> list[Finding]:
    """Compare the classes of the PNGs with those of the config."""
    if aset.png_classes is None:
        return []
    categories = [
        dict(id=i, name=name) for i, name in enumerate(aset.png_classes)
    ]
    findings = []
    if aset.classes is not None:
        findings += coco.check_metainfo(aset, categories)
    if aset.model_classes is not None:
        findings += coco.check_model_classes(aset, categories)
    if aset.thing_classes is None:
        message = 'list the things as thing_classes of metainfo, () for none'
        findings.append(found('metainfo', aset.seg_dir, message))
    return findings


@dataclass
class SemanticFix:
    """Copies one image with its map of classes.

    Args:
        sample (SemanticSample): The original.
        move (Move): Where it goes.
    """

    sample: SemanticSample
    move: copying.Move

    def fix(self) -> copying.Fixed:
        """Write both files, the map in grey with 8 bits."""
        path = self.sample.png_path
        try:
            png = read_label_map(path)
        except FileNotFoundError:
            note = copying.note('png-missing', path, 'image left out')
            return copying.Fixed(None, [], [note])
        except ValueError:
            note = copying.note('png-unreadable', path, 'image left out')
            return copying.Fixed(None, [], [note])
        stored, notes = copying.store_image(
            self.sample.image_path, self.move, png.values.shape[:2]
        )
        if not stored:
            return copying.Fixed(None, [], notes)
        kinds = {finding.kind for finding in self.sample.check().findings}
        values = class_values(png)
        if 'png-mode' in kinds and values is not None:
            depth = np.uint8 if values.max() <= 255 else np.uint16
            write_png(self.move.path(path), values.astype(depth))
            notes.append(copying.note('png-mode', path, 'converted to grey'))
        self.move.copy(path)
        return copying.Fixed({}, [], notes)
