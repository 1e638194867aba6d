"""Semantic annotations: a grey PNG per image, its values are classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _annotations import Png, read_png, write_png
from _package import file_names

from . import copying
from .images import check_image, list_images
from .report import Checked, Finding, found
from .sets import AnnotationSet


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
            png = read_png(path)
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
        if (png.kind, png.bits == 16) not in (
            ('grey', False),
            ('palette', False),
        ):
            note = '' if values is None else '; its values fit in 8'
            message = f'is {png}, expected grey with 8 bits{note}'
            findings.append(found('png-mode', path, message))
        if values is None:
            return Checked(findings, set(), 0)
        used = set(np.unique(values).tolist()) - {self.aset.ignore_index}
        findings += self.check_values(values, used)
        return Checked(findings, used, len(used))

    def check_values(self, values: np.ndarray, used: set) -> list[Finding]:
        """Find values that are no class, and maps without any."""
        findings = []
        path, number = self.png_path, self.aset.num_classes
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
            findings.append(found('empty-picture', path, message))
        return findings


def class_values(png: Png) -> np.ndarray | None:
    """Return the classes of a PNG, (H, W), if it shows one per pixel."""
    values = png.values
    if values.ndim == 3:
        colors = (
            values[..., :3] if png.kind != 'grey-alpha' else values[..., :1]
        )
        if (colors != colors[..., :1]).any():
            return None
        values = colors[..., 0]
    return values if values.max(initial=0) <= 255 else None


def plan(
    aset: AnnotationSet,
) -> tuple[list[SemanticSample], list[Finding], dict]:
    """Pair images and PNGs by name.

    Returns:
        tuple: Images, what has no partner, and an empty content.
    """
    image_end, label_end = aset.label_name
    labels = {
        path.relative_to(aset.seg_dir).with_suffix('').as_posix(): path
        for path in list_images(aset.seg_dir)
        if path.suffix.lower() == '.png' and path.stem.endswith(label_end)
    }
    maps = set(labels.values()) if aset.seg_dir == aset.image_dir else set()
    samples, findings, seen = [], [], {}
    for path in list_images(aset.image_dir):
        if not path.stem.endswith(image_end) or path in maps:
            continue
        if file_names.image_stem(path.name, aset.img_suffix) is None:
            message = f'does not end in {aset.img_suffix}, the img_suffix'
            findings.append(found('unlisted-image', path, message))
            continue
        stem = path.relative_to(aset.image_dir).with_suffix('').as_posix()
        key = stem.removesuffix(image_end) + label_end
        if key in seen:
            message = f'shares {key}.png with {seen[key]}'
            findings.append(found('shared-png', path, message))
        seen[key] = path
        default = aset.seg_dir / f'{key}.png'
        samples.append(SemanticSample(aset, path, labels.pop(key, default)))
    for path in labels.values():
        message = f'no image of that name in {aset.image_dir}'
        findings.append(found('unlisted-png', path, message))
    return samples, findings, {}


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
            png = read_png(path)
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
            write_png(self.move.path(path), values.astype(np.uint8))
            notes.append(copying.note('png-mode', path, 'converted to grey'))
        self.move.copy(path)
        return copying.Fixed({}, [], notes)
