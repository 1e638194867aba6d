"""Write a corrected copy of a data set."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from . import coco, instances, panoptic, semantic
from .check import KINDS, run, unlisted_files
from .files import read_json
from .pictures import (
    TURNS,
    bake_turn,
    clear_turn,
    encode,
    read_picture,
    read_png,
    write_png,
)
from .report import Finding, found
from .sets import AnnotationSet


class Fixed(NamedTuple):
    """What became of a picture in the copy.

    Attributes:
        image (dict | None): Its entry among the images; None if left out.
        annotations (list[dict]): Its entries among the annotations.
        notes (list[Finding]): What was done, level 'fixed'.
    """

    image: dict | None
    annotations: list[dict]
    notes: list[Finding]


def write_fixed(
    sets: Sequence[AnnotationSet],
    out: Path,
    root: Path | None = None,
    things: Iterable[str] = (),
    workers: int = 1,
    progress: bool = False,
) -> tuple[list[AnnotationSet], list[Finding]]:
    """Write annotations and listed pictures, with what can be mended mended.

    Only what has one possible meaning is mended, see ``Check.fix``; the rest
    is copied as it is. The originals are only read.

    Args:
        sets (Sequence[AnnotationSet]): What to copy.
        out (Path): Folder to make; paths in it are those below ``root``.
        root (Path, optional): Folder that holds all the sets; by default the
            lowest such.
        things (Iterable[str]): Names of the things, where a JSON does not
            say which they are. All other classes are stuff then.
        workers (int): Processes.
        progress (bool): Whether to show a bar on the error output.

    Returns:
        tuple: The sets in their new place, and what was done.

    Raises:
        FileExistsError: If ``out`` is there and not empty.
        ValueError: If ``out`` lies inside of the data.
    """
    data = [Path(root)] if root else data_folders(sets)
    data = [Path(os.path.abspath(folder)) for folder in data]
    root, out = Path(os.path.commonpath(data)), Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} is there already: name a new or empty folder.'
        )
    for folder in data:
        if folder in (out, *out.parents):
            raise ValueError(
                f'{out} lies inside of the data in {folder}, which stay '
                'untouched: name a folder elsewhere.'
            )
    move = Move(root, out)
    notes = []
    for aset in sets:
        notes += _fix_set(aset, sets, move, tuple(things), workers, progress)
    notes += [
        finding._replace(message='not copied', level='fixed')
        for finding in unlisted_files(sets)
    ]
    return [move.set(aset) for aset in sets], notes


def data_folders(sets: Iterable[AnnotationSet]) -> list[Path]:
    """Return the folders that hold the files of some sets."""
    folders = []
    for aset in sets:
        folders += [aset.image_dir, aset.seg_dir]
        folders.append(aset.ann_file and aset.ann_file.parent)
    return [folder for folder in folders if folder]


@dataclass(frozen=True)
class Move:
    """Where the files go.

    Args:
        root (Path): Folder of the originals, absolute.
        out (Path): Folder of the copy, absolute.
    """

    root: Path
    out: Path

    def path(self, path: Path) -> Path:
        """Return the new place of a file, its folder made."""
        absolute = Path(os.path.abspath(path))
        if self.root not in absolute.parents and absolute != self.root:
            raise ValueError(
                f'{path} lies outside of {self.root}, so that it has no place '
                'in the copy: move it, and correct its file_name.'
            )
        target = self.out / absolute.relative_to(self.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def copy(self, path: Path) -> None:
        """Copy a file unless it is there."""
        target = self.path(path)
        if path.is_file() and not target.exists():
            shutil.copyfile(path, target)

    def set(self, aset: AnnotationSet) -> AnnotationSet:
        """Return a set in its new place."""
        return replace(
            aset,
            **{
                key: self.path(value)
                for key in ('image_dir', 'seg_dir', 'ann_file')
                if (value := getattr(aset, key))
            },
        )


def _fix_set(
    aset: AnnotationSet,
    sets: Sequence[AnnotationSet],
    move: Move,
    things: tuple[str, ...],
    workers: int,
    progress: bool,
) -> list[Finding]:
    pictures, _, content = KINDS[aset.kind].plan(aset)
    title = f'{aset.name}, copy' if progress else None
    jobs = [JOBS[aset.kind](picture, move) for picture in pictures]
    results = list(run('fix', jobs, workers, title))
    notes = [note for fixed in results for note in fixed.notes]
    if aset.kind == 'semantic':
        return notes
    if content is None:
        move.copy(aset.ann_file)
        return notes
    raw = read_json(aset.ann_file)
    images, annotations, more = _assemble(aset, pictures, results, content)
    categories, told = fix_isthing(aset, content, sets, things)
    entries = dict(
        images=images, annotations=annotations, categories=categories
    )
    for key, keys in coco.KEYS[aset.kind].items():
        # What has not the form of an entry is nobody's to mend.
        raw[key] = entries[key] + [
            entry for entry in raw[key] if coco.entry_problem(entry, keys)
        ]
    move.path(aset.ann_file).write_text(json.dumps(raw))
    return notes + more + told


def _assemble(
    aset: AnnotationSet, pictures: list, results: list[Fixed], content: dict
) -> tuple[list[dict], list[dict], list[Finding]]:
    """Put the entries of the pictures together again."""
    path = aset.ann_file
    images, annotations, notes = [], [], []
    done, seen = set(), {}
    for picture, fixed in zip(pictures, results, strict=True):
        own = own_annotations(picture)
        alike = seen.setdefault(picture.image['id'], [])
        if picture.image in alike:
            notes.append(
                _note(
                    'duplicate-image-id',
                    path,
                    'a second entry that says the same is dropped',
                    'image',
                    picture.image['id'],
                )
            )
            continue
        alike.append(picture.image)
        if fixed.image is not None:
            images.append(fixed.image)
        if done.isdisjoint(map(id, own)):
            annotations += fixed.annotations
        done.update(map(id, own))
    known = {image['id'] for image in content['images']}
    for annotation in content['annotations']:
        if annotation['image_id'] not in known:
            notes.append(
                _note(
                    'unknown-image',
                    path,
                    'annotation dropped',
                    'image',
                    annotation['image_id'],
                )
            )
        elif id(annotation) not in done:
            annotations.append(annotation)
    if aset.kind == 'instance':
        notes += _renumber(path, annotations)
    return images, annotations, notes


def own_annotations(picture) -> list[dict]:
    """Return the entries of the annotations of a picture."""
    if isinstance(picture, panoptic.PanopticPicture):
        return [picture.annotation] if picture.annotation else []
    return picture.annotations


def _renumber(path: Path, annotations: list[dict]) -> list[Finding]:
    notes, seen = [], set()
    numbers = [a['id'] for a in annotations if isinstance(a['id'], int)]
    free = max(numbers, default=0) + 1
    for annotation in annotations:
        number = annotation['id']
        if number in seen:
            annotation['id'], free = free, free + 1
            message = f'the later one is {annotation["id"]} now'
            notes.append(
                _note(
                    'duplicate-annotation-id',
                    path,
                    message,
                    'annotation',
                    number,
                )
            )
        seen.add(number)
    return notes


def _note(
    kind: str,
    file: Path,
    message: str,
    what: str | None = None,
    number: int | str | None = None,
) -> Finding:
    return found(kind, file, message, what, number, 'fixed')


# --------------------------------------------------------------- pictures


def store_picture(
    source: Path, move: Move, size: tuple[int, int]
) -> tuple[bool, list[Finding]]:
    """Copy a picture, turned so that it fits its annotation.

    Args:
        source (Path): The picture.
        move (Move): Where it goes.
        size (tuple[int, int]): Height and width of its annotation.

    Returns:
        tuple: Whether there is a picture now, and what was done.
    """
    try:
        picture = read_picture(source)
    except FileNotFoundError:
        return False, [_note('image-missing', source, 'left out')]
    except ValueError:
        return False, [_note('image-unreadable', source, 'left out')]
    target = move.path(source)
    if picture.orientation in TURNS and size[0] != size[1]:
        if picture.read_size == size:
            bake_turn(source, target)
            return True, [_note('exif-turned', source, 'stored turned')]
        if picture.size == size and clear_turn(source, target):
            return True, [_note('exif-rotation', source, 'tag cleared')]
    move.copy(source)
    return True, []


@dataclass
class PanopticFix:
    """Copies one picture with its PNG.

    Args:
        picture (PanopticPicture): The original.
        move (Move): Where it goes.
    """

    picture: panoptic.PanopticPicture
    move: Move

    def fix(self) -> Fixed:
        """Write the files and return the entries of the JSON."""
        picture, image = self.picture, dict(self.picture.image)
        notes, segments = [], None
        if picture.annotation:
            try:
                png = read_png(picture.png_path)
            except FileNotFoundError:
                return self.left_out('png-missing')
            except ValueError:
                return self.left_out('png-unreadable')
            size = panoptic.fitting_size(picture)
            if size not in (None, picture.size):
                image['height'], image['width'] = size
                message = f'height and width set to {size[0]}, {size[1]}'
                notes.append(self.note('image-size', message))
        size = image['height'], image['width']
        stored, more = store_picture(picture.image_path, self.move, size)
        if not stored:
            return Fixed(None, [], more)
        notes += more
        if not picture.annotation:
            return Fixed(image, [], notes)
        if png.values.shape[:2] == size:
            segments, more = self.fix_segments(png)
            notes += more
        self.move.copy(picture.png_path)
        annotation = dict(picture.annotation)
        if segments is not None:
            annotation['segments_info'] = segments
        return Fixed(image, [annotation], notes)

    def left_out(self, kind: str) -> Fixed:
        """Leave the picture out for its PNG."""
        path = self.picture.png_path
        return Fixed(None, [], [_note(kind, path, 'picture left out')])

    def note(
        self, kind: str, message: str, number: int | None = None
    ) -> Finding:
        """Return a note about a segment, or the picture as a whole."""
        where = ('segment', number)
        if number is None:
            where = ('image', self.picture.image['id'])
        message = f'{self.picture.image["file_name"]}: {message}'
        return _note(kind, self.picture.aset.ann_file, message, *where)

    def fix_segments(self, png) -> tuple[list | None, list[Finding]]:
        """Make PNG and JSON agree; write the PNG if it changed.

        Returns:
            tuple: The segments, None if nothing is sure, and what was done.
        """
        entries = self.picture.annotation['segments_info']
        good = [
            entry
            for entry in entries
            if not coco.entry_problem(entry, ('id', 'category_id'))
        ]
        listed = {entry['id'] for entry in good}
        reading = panoptic.read_ids(png, listed)
        if reading.ids is None:
            return None, []
        ids = reading.ids.copy()
        if listed and listed.isdisjoint(np.unique(ids).tolist()):
            return None, []  # of another picture, or another kind of PNG
        notes = []
        if reading.kind:
            path = self.picture.png_path
            notes.append(_note(reading.kind, path, 'converted to RGB'))
        segments = self.drop_repeated(good, notes)
        segments = self.replace_zero(segments, ids, notes)
        self.clear_unlisted(segments, ids, notes)
        segments = self.match(segments, ids, notes)
        if reading.kind or (ids != reading.ids).any():
            write_png(self.move.path(self.picture.png_path), encode(ids))
        return segments + [e for e in entries if e not in good], notes

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
        measures = panoptic.measure(ids)
        kept = []
        for segment in segments:
            number = segment['id']
            if number not in measures and type(number) is int and number > 0:
                notes.append(self.note('missing-id', 'dropped', number))
                continue
            if number in measures and number != 0:
                true = measures[number]._asdict()
                for kind, message in panoptic.differences(
                    segment, measures[number]
                ):
                    segment = dict(segment, **{kind: true[kind]})
                    notes.append(self.note(kind, f'{message}, set', number))
            kept.append(segment)
        return kept


@dataclass
class InstanceFix:
    """Copies one picture, and mends its objects.

    Args:
        picture (InstancePicture): The original.
        move (Move): Where it goes.
    """

    picture: instances.InstancePicture
    move: Move

    def fix(self) -> Fixed:
        """Write the picture and return the entries of the JSON."""
        picture = self.picture
        size = picture.image['height'], picture.image['width']
        stored, notes = store_picture(picture.image_path, self.move, size)
        if not stored:
            return Fixed(None, [], notes)
        kept = []
        for annotation in picture.annotations:
            rle, problems = instances.check_object(
                annotation, size, picture.categories
            )
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
        return Fixed(picture.image, kept, notes)

    def note(self, kind: str, message: str, annotation: dict) -> Finding:
        """Return a note about an object."""
        file_name = self.picture.image['file_name']
        return _note(
            kind,
            self.picture.aset.ann_file,
            f'{file_name}: {message}',
            'annotation',
            annotation['id'],
        )


@dataclass
class SemanticFix:
    """Copies one picture with its map of classes.

    Args:
        picture (SemanticPicture): The original.
        move (Move): Where it goes.
    """

    picture: semantic.SemanticPicture
    move: Move

    def fix(self) -> Fixed:
        """Write both files, the map in grey with 8 bits."""
        path = self.picture.png_path
        try:
            png = read_png(path)
        except FileNotFoundError:
            note = _note('png-missing', path, 'picture left out')
            return Fixed(None, [], [note])
        except ValueError:
            note = _note('png-unreadable', path, 'picture left out')
            return Fixed(None, [], [note])
        stored, notes = store_picture(
            self.picture.image_path, self.move, png.values.shape[:2]
        )
        if not stored:
            return Fixed(None, [], notes)
        kinds = {finding.kind for finding in self.picture.check().findings}
        values = semantic.class_values(png)
        if 'png-mode' in kinds and values is not None:
            write_png(self.move.path(path), values.astype(np.uint8))
            notes.append(_note('png-mode', path, 'converted to grey'))
        self.move.copy(path)
        return Fixed({}, [], notes)


JOBS = dict(panoptic=PanopticFix, instance=InstanceFix, semantic=SemanticFix)


# ---------------------------------------------------------------- classes


def fix_isthing(
    aset: AnnotationSet,
    content: dict,
    sets: Sequence[AnnotationSet],
    things: tuple[str, ...],
) -> tuple[list[dict], list[Finding]]:
    """Add ``isthing`` to the categories that lack it, where it is known.

    In this order ``things``, ``thing_classes`` of the config, the other
    annotation files and the annotations themselves are asked: a class that
    has a crowd, or two segments in a picture, is a thing.
    """
    categories, notes = [], []
    if aset.kind != 'panoptic':
        return content['categories'], notes
    named = things or aset.thing_classes or ()
    others = None
    for category in content['categories']:
        category, flag = dict(category), category.get('isthing')
        if flag not in (0, 1):
            if others is None:
                others = _flags(content, sets)
            known = others.get(category['name'])
            if str(flag) in ('0', '1'):
                known = int(flag)
            elif named:
                known = int(category['name'] in named)
            if known is not None:
                category['isthing'] = known
                notes.append(
                    _note(
                        'isthing-missing',
                        aset.ann_file,
                        f'{category["name"]!r} has isthing {known} now',
                        'category',
                        category['id'],
                    )
                )
        categories.append(category)
    return categories, notes


def _flags(content: dict, sets: Sequence[AnnotationSet]) -> dict[str, int]:
    """Return ``isthing`` by class name, as far as it can be told."""
    names = {c['id']: c['name'] for c in content['categories']}
    flags = {}
    for annotation in content['annotations']:
        seen = set()
        for segment in annotation['segments_info']:
            if coco.entry_problem(segment, ('id', 'category_id')):
                continue
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
        for category in other['categories'] if other else ():
            if aset.kind == 'instance':
                flags[category['name']] = 1
            elif category.get('isthing') in (0, 1):
                flags[category['name']] = int(category['isthing'])
    return flags
