"""Write a corrected copy of a data set."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from _annotations import read_json, write_json
from _package import errors

from . import coco, instances, panoptic, semantic
from .check import KINDS, run, unlisted_files
from .copying import Fixed, Move, note
from .report import Finding
from .sets import AnnotationSet

JOBS = dict(
    panoptic=panoptic.PanopticFix,
    instance=instances.InstanceFix,
    semantic=semantic.SemanticFix,
)


def write_fixed(
    sets: Sequence[AnnotationSet],
    out: Path,
    root: Path | None = None,
    things: Iterable[str] = (),
    workers: int = 1,
    progress: bool = False,
) -> tuple[list[AnnotationSet], list[Finding]]:
    """Write annotations and listed images, with what can be mended mended.

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
        FileError: If ``out`` is there and not empty.
        ValueError: If ``out`` lies inside of the data.
    """
    data = [Path(root)] if root else data_folders(sets)
    data = [Path(os.path.abspath(folder)) for folder in data]
    root, out = Path(os.path.commonpath(data)), Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise errors.FileError(
            f'{out} is there already: name a new or empty folder.'
        )
    for folder in data:
        if folder in (out, *out.parents):
            raise errors.InputError(
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


def _fix_set(
    aset: AnnotationSet,
    sets: Sequence[AnnotationSet],
    move: Move,
    things: tuple[str, ...],
    workers: int,
    progress: bool,
) -> list[Finding]:
    samples, _, content = KINDS[aset.kind].plan(aset)
    title = f'{aset.name}, copy' if progress else None
    jobs = [JOBS[aset.kind](sample, move) for sample in samples]
    results = list(run('fix', jobs, workers, title))
    notes = [done for fixed in results for done in fixed.notes]
    if aset.kind == 'semantic':
        return notes
    if content is None:
        move.copy(aset.ann_file)
        return notes
    raw = read_json(aset.ann_file)
    images, annotations, more = _assemble(aset, samples, results, content)
    categories, told = content.categories, []
    if aset.kind == 'panoptic':
        categories, told = panoptic.fix_isthing(aset, content, sets, things)
    entries = dict(
        images=images, annotations=annotations, categories=categories
    )
    for key, kept in entries.items():
        # What is not readable is nobody's to mend.
        raw[key] = kept + [
            remark.entry
            for remark in content.remarks
            if remark.part == key and remark.kind != coco.READ
        ]
    for image in coco.refused_images(content):
        move.copy(aset.image_path(image['file_name']))
    for annotation in annotations if aset.seg_dir else ():
        move.copy(aset.seg_dir / annotation['file_name'])
    write_json(move.path(aset.ann_file), raw)
    return notes + _reads(aset, content) + more + told


def _reads(aset: AnnotationSet, content: coco.Coco) -> list[Finding]:
    """Note the values that are written as COCO's in the copy."""
    return [
        found._replace(level='fixed')
        for found in coco.of_remarks(aset.ann_file, content.remarks)
        if found.kind == coco.READ
    ]


def _assemble(
    aset: AnnotationSet,
    samples: list,
    results: list[Fixed],
    content: coco.Coco,
) -> tuple[list[dict], list[dict], list[Finding]]:
    """Put the entries of the images together again."""
    path = aset.ann_file
    images, annotations, notes = [], [], []
    done, seen = set(), {}
    for sample, fixed in zip(samples, results, strict=True):
        own = own_annotations(sample)
        alike = seen.setdefault(sample.image['id'], [])
        if sample.image in alike:
            notes.append(
                note(
                    'duplicate-image-id',
                    path,
                    'a second entry that says the same is dropped',
                    'image',
                    sample.image['id'],
                )
            )
            continue
        alike.append(sample.image)
        if fixed.image is not None:
            images.append(fixed.image)
        if done.isdisjoint(map(id, own)):
            annotations += fixed.annotations
        done.update(map(id, own))
    refused = coco.refused_images(content)
    known = {image['id'] for image in [*content.images, *refused]}
    for annotation in content.annotations:
        if annotation['image_id'] not in known:
            notes.append(
                note(
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


def own_annotations(sample) -> list[dict]:
    """Return the entries of the annotations of an image."""
    if isinstance(sample, panoptic.PanopticSample):
        return [sample.annotation] if sample.annotation else []
    return sample.annotations


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
                note(
                    'duplicate-annotation-id',
                    path,
                    message,
                    'annotation',
                    number,
                )
            )
        seen.add(number)
    return notes
