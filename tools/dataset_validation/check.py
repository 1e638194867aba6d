"""Run the checks of all annotation sets, on several processes."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _package import errors
from _progress import Stopwatch

from . import coco, instances, panoptic, semantic
from .images import list_images
from .report import Finding, Report, found, plural
from .sets import AnnotationSet

KINDS = dict(panoptic=panoptic, instance=instances, semantic=semantic)
TITLES = dict(
    panoptic='COCO panoptic',
    instance='COCO instances',
    semantic='semantic PNGs',
)
MAX_WORKERS = 32
CHUNK = 8


def check_sets(
    sets: Iterable[AnnotationSet], workers: int = 1, progress: bool = False
) -> Report:
    """Check every image and annotation.

    Args:
        sets (Iterable[AnnotationSet]): What to check.
        workers (int): Processes, 1 to ``MAX_WORKERS``.
        progress (bool): Whether to show a bar on the error output.

    Raises:
        ValueError: If the number of workers is out of range.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise errors.InputError(
            f'Expected 1 to {MAX_WORKERS} workers, got {workers}.'
        )
    sets = list(sets)
    summaries, findings = [], []
    for aset in sets:
        summary, more = _check_set(aset, workers, progress)
        summaries.append(summary)
        findings += more
    findings += unlisted_files(sets)
    return Report(summaries, findings)


def _check_set(
    aset: AnnotationSet, workers: int, progress: bool
) -> tuple[dict, list[Finding]]:
    samples, findings, content = KINDS[aset.kind].plan(aset)
    used, numbers, ignored = set(), [], False
    # A panoptic image is trained on only with an annotation.
    if content is not None and not any(
        getattr(sample, 'annotation', True) for sample in samples
    ):
        message = 'leaves nothing to use'
        findings.append(found('empty-set', aset.source, message))
    elif aset.filter_empty and not coco.has_thing(aset, content):
        message = 'has no thing, so that filter_empty_gt leaves no image'
        findings.append(found('empty-set', aset.source, message))
    results = run('check', samples, workers, aset.name if progress else None)
    for checked in results:
        findings += checked.findings
        used |= checked.used
        numbers.append(checked.number)
        ignored |= checked.ignored
    if content:
        findings += coco.check_unused(aset, content.categories, used)
        findings += coco.check_single(aset, content)
    elif aset.kind == 'semantic' and aset.num_classes is not None:
        findings += _unused_values(aset, used)
    if ignored and len(used) == 1 and aset.num_classes != 1:
        findings += _ignored_foreground(aset, *used)
    text = (
        f'{TITLES[aset.kind]}, {plural(len(samples), "image")}, '
        f'{plural(sum(numbers), "mask")}, at most '
        f'{max(numbers, default=0)} in an image, {len(used)} classes in use'
    )
    return dict(aset.summary(), text=text), findings


def _unused_values(aset: AnnotationSet, used: set) -> list[Finding]:
    level = 'warning' if aset.training else 'info'
    names = aset.png_classes or range(aset.num_classes)
    first = int(aset.reduce_zero_label and aset.png_classes is not None)
    wanted = aset.classes if aset.classes and aset.png_classes else names
    return [
        found(
            'unused-class',
            aset.seg_dir,
            f'{name!r} is in no image',
            'value',
            value,
            level,
        )
        for value, name in enumerate(names, first)
        if value not in used and name in wanted
    ]


def _ignored_foreground(aset: AnnotationSet, value: int) -> list[Finding]:
    """Say that the foreground has the value that is ignored."""
    message = (
        f'all maps have the value {value} and the ignored value '
        f'{aset.ignore_index} alone, so that a model sees one class: write '
        'the number of a class in its place, or set ignore_index'
    )
    # Without a list of classes there may be one.
    level = 'warning' if aset.num_classes is None else None
    return [found('ignored-foreground', aset.seg_dir, message, level=level)]


def run(
    method: str, samples: list, workers: int, title: str | None = None
) -> Iterator:
    """Call a method of all images, in order, on several processes."""
    call = _Call(method)
    if workers == 1 or len(samples) < 2 * CHUNK:
        yield from _shown(map(call, samples), len(samples), title)
        return
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(call, samples, chunksize=CHUNK)
        yield from _shown(results, len(samples), title)


class _Call:
    """A method by its name, to be sent to other processes."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __call__(self, sample) -> object:
        return getattr(sample, self.method)()


def _shown(results: Iterable, total: int, title: str | None) -> Iterator:
    """Pass the results on, and show their number and the time left."""
    write: Callable = sys.stderr.write
    step = max(1, total // 200)
    watch = Stopwatch()
    for number, result in enumerate(results, start=1):
        yield result
        if title and (number % step == 0 or number == total):
            done = 30 * number // total
            bar = '#' * done + '.' * (30 - done)
            left = watch.left(number, total)
            write(f'\r{title} [{bar}] {number}/{total} {left} left')
            sys.stderr.flush()
    if title and total:
        write('\n')


def unlisted_files(sets: list[AnnotationSet]) -> list[Finding]:
    """Find files that none of the sets that share their folder lists."""
    # A semantic set takes its images from the folder, so lists them all.
    listed_images, listed_pngs = {}, {}
    for aset in sets:
        if aset.kind == 'semantic':
            continue
        images, pngs = _listed(aset)
        listed_images.setdefault(aset.image_dir, set()).update(images)
        if aset.seg_dir:
            listed_pngs.setdefault(aset.seg_dir, set()).update(pngs)
    findings = []
    # Folders may be the same, or lie in one another.
    known = set().union(*listed_images.values(), *listed_pngs.values())
    for kind, listed in (
        ('unlisted-image', listed_images),
        ('unlisted-png', listed_pngs),
    ):
        labels = set(listed_pngs) | {a.seg_dir for a in sets if a.seg_dir}
        for folder in listed:
            for path in list_images(folder):
                if path in known or _below(path, labels - {folder}):
                    continue
                known.add(path)
                message = 'is listed by no annotation'
                findings.append(found(kind, path, message))
    return findings


def _below(path: Path, folders: set[Path]) -> bool:
    return not folders.isdisjoint(path.parents)


def _listed(aset: AnnotationSet) -> tuple[set[Path], set[Path]]:
    content, _ = coco.check_layout(aset)
    if content is None:
        return set(), set()
    entries = [*content.images, *coco.refused_images(content)]
    images = {aset.image_path(entry['file_name']) for entry in entries}
    pngs = set()
    if aset.seg_dir:
        pngs = {aset.seg_dir / a['file_name'] for a in content.annotations}
    return images, pngs
