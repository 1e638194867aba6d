"""The formats in which infer.py writes results, one class each.

``write`` is called by one thread, in the order of the images.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from _coco_files import merge
from _result_log import ResultLog, logs_in
from _results import ResultFolder
from _sources import Item

from projects.oneformer.errors import FileError, InputError
from projects.oneformer.file_writing import write_png
from projects.oneformer.results import SegmentationResult


class Drawings:
    """A drawing for each image and task, and ``segments.json``.

    Args:
        folder (Path): Result folder.
        meta (dict): ``classes`` of the model.
        tasks (Sequence[str]): Tasks of a run.
        resume (bool): Leave out images that have all these drawings.
    """

    def __init__(
        self, folder: Path, meta: dict, tasks: Sequence[str], resume: bool
    ) -> None:
        self.results = ResultFolder(folder, meta['classes'])
        self.tasks = list(tasks)
        self.resume = resume

    def __contains__(self, path: str) -> bool:
        """Whether an image is done and need not be done again."""
        record = self.results.records.get(os.path.abspath(path))
        return (
            self.resume
            and record is not None
            and set(self.tasks) <= set(record.drawings)
        )

    def check(self, videos: Sequence[Path], items: Iterable[Item]) -> None:
        """Raise InputError if a drawing would replace a file of others.

        Args:
            videos (Sequence[Path]): Videos of the run, which come first.
            items (Iterable[Item]): Images of the run.
        """
        endings = {str(path): '.mp4' for path in videos}
        endings |= {item.path: '.png' for item in items}
        new = {path: end for path, end in endings.items() if path not in self}
        self.results.check(endings, new, self.tasks)

    def begin_video(self, path: Path) -> dict[str, str]:
        """Return the names of the drawings of a video, by task."""
        with _file_errors(self.results.folder):
            return self.results.begin(path, self.tasks, '.mp4')

    def write(self, item: Item, result: SegmentationResult) -> None:
        """Write drawings and segments of an image."""
        record: dict[str, Any] = dict(height=result.height, width=result.width)
        for task in self.tasks:
            record[task] = [s.to_dict() for s in result.segments_of(task)]
        drawings = {task: np.asarray(result.plot(task)) for task in self.tasks}
        with _file_errors(self.results.folder):
            self.results.add(Path(item.path), record, drawings)

    def close(self) -> None:
        """Write what holds all results, also if the run stops early."""
        with _file_errors(self.results.folder):
            self.results.close()

    def finish(self, number: int) -> str:
        """Return what was written for a number of images."""
        return (
            f'Wrote {number * len(self.tasks)} drawings of {number} images '
            f'and {self.results.target}.'
        )


class Lines:
    """A line of JSON for each image, with the segments of all tasks."""

    kind = 'segments'
    merged = False  # whether a JSON is made from all lines

    def __init__(
        self,
        folder: Path,
        meta: dict,
        tasks: Sequence[str],
        resume: bool,
        rank: int = 0,
        world_size: int = 1,
        score_thr: float = 0.3,
    ) -> None:
        self.folder = folder
        self.tasks = list(tasks)
        # Of a result of no pixels, as the format needs it.
        self.empty = SegmentationResult(
            height=1,
            width=1,
            classes=tuple(meta['classes']),
            thing_classes=tuple(meta.get('thing_classes', ())),
            palette=tuple(map(tuple, meta.get('palette') or ())),
            category_ids=meta.get('category_ids'),
            panoptic=np.zeros((1, 1), np.int32),
            segments=[],
            instances=[],
        )
        settings = dict(
            classes=self.empty.classes,
            thing_classes=self.empty.thing_classes,
            category_ids=self.empty.category_ids,
            tasks=self.tasks,
            score_thr=score_thr,
        )
        target = folder / f'{self.kind}.json'
        if self.merged and target.exists() and not logs_in(folder, self.kind):
            raise InputError(
                f'{target} would be replaced, and is of no earlier run, as '
                f'there is no {self.kind}.jsonl: choose another --out-dir, '
                'or move the file away.'
            )
        with _file_errors(folder):
            self.log = ResultLog(
                folder, self.kind, settings, rank, world_size, resume
            )

    def __contains__(self, path: str) -> bool:
        """Whether an image is done and need not be done again."""
        return path in self.log

    def write(self, item: Item, result: SegmentationResult) -> None:
        """Write the results of an image."""
        self.log.add(item.path, self.record(item, result))

    def record(self, item: Item, result: SegmentationResult) -> dict:
        """Return the line of an image, without its path."""
        segments = {
            task: [s.to_dict() for s in result.segments_of(task)]
            for task in self.tasks
        }
        return dict(height=result.height, width=result.width, **segments)

    def close(self) -> None:
        """Close the file; what it holds stays."""
        self.log.close()

    def finish(self, number: int) -> str:
        """Say what was written for a number of images."""
        self.log.finish()
        return f'Wrote {number} lines to {self.log.path}.'


class CocoInstances(Lines):
    """COCO's instances, with scores: one file for all images."""

    kind = 'instances'
    merged = True

    def record(self, item: Item, result: SegmentationResult) -> dict:
        """Return the entries of an image."""
        content = result.to_coco_instances(file_name=item.name)
        return dict(
            image=content['images'][0], annotations=content['annotations']
        )

    def categories(self) -> list[dict]:
        """Return the categories of the file."""
        return self.empty.to_coco_instances()['categories']

    def finish(self, number: int) -> str:
        """Merge the lines of all processes, once the last one is done."""
        target = self.folder / f'{self.kind}.json'
        if not self.log.finish():
            return (
                f'Wrote {number} lines to {self.log.path}; the last process '
                f'writes {target}.'
            )
        with _file_errors(self.folder):
            total = merge(self.log.records, self.categories(), target)
        return f'Wrote {target} with {total} images.'


class CocoPanoptic(CocoInstances):
    """COCO's panoptic format: PNGs of ids, and one file for all images."""

    kind = 'panoptic'

    def record(self, item: Item, result: SegmentationResult) -> dict:
        """Write the PNG of an image and return its entries."""
        content, ids = result.to_coco_panoptic(file_name=item.name)
        # Images of several folders may share a name.
        digest = blake2b(os.fsencode(os.path.abspath(item.path)))
        file = f'{Path(item.path).stem}_{digest.hexdigest()[:8]}.png'
        with _file_errors(self.folder):
            write_png(str(self.folder / self.kind / file), ids)
        (annotation,) = content['annotations']
        return dict(
            image=content['images'][0],
            annotations=[dict(annotation, file_name=file)],
        )

    def categories(self) -> list[dict]:
        """Return the categories of the file."""
        return self.empty.to_coco_panoptic()[0]['categories']


FORMATS = {
    'drawings': Drawings,
    'jsonl': Lines,
    'coco-panoptic': CocoPanoptic,
    'coco-instances': CocoInstances,
}
# What a format holds, where that is one task.
TASK_OF_FORMAT = {'coco-panoptic': 'panoptic', 'coco-instances': 'instance'}


def make_output(
    name: str,
    folder: Path,
    meta: dict,
    tasks: Sequence[str],
    resume: bool,
    rank: int,
    world_size: int,
    score_thr: float,
) -> Drawings | Lines:
    """Return where results go.

    Args:
        name (str): One of ``FORMATS``.
        folder (Path): Result folder.
        meta (dict): ``classes`` and more of the model.
        tasks (Sequence[str]): Tasks of the run.
        resume (bool): Leave out images that are done.
        rank (int): Place of this process, from 0.
        world_size (int): Number of processes.
        score_thr (float): Of the instances.

    Raises:
        InputError: If the folder holds other results, or the format is for
            one process.
    """
    if name == 'drawings':
        if world_size > 1:
            raise InputError(
                'Drawings are made by one process, which names them: choose '
                '--format jsonl, coco-panoptic or coco-instances.'
            )
        return Drawings(folder, meta, tasks, resume)
    return FORMATS[name](
        folder, meta, tasks, resume, rank, world_size, score_thr
    )


@contextlib.contextmanager
def _file_errors(folder: Path):
    """Turn errors of the disk into errors that a user can correct."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f'{folder} cannot be written: {error}') from error
