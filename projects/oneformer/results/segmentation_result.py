"""The result of an image in all tasks that were asked for."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..tasks import check_task, ignore_index
from .segment import Segment


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What a model found in one image; a task not asked for is None.

    Attributes:
        height (int): Of the image and of all maps and masks.
        width (int): Of the image and of all maps and masks.
        classes (tuple[str, ...]): Names of the classes, by label.
        thing_classes (tuple[str, ...]): Those of them that are countable.
        palette (tuple[tuple[int, int, int], ...]): RGB colour of each class,
            0 to 255; may be empty.
        category_ids (tuple[int, ...] | None): Ids of the classes in the data
            set, by label; None if they are the labels themselves.
        image_name (str | None): Path or address that the image was read
            from, if it was.
        image (np.ndarray | None): The image, RGB uint8 (H, W, 3).
        panoptic (np.ndarray | None): Ids of segments, int32 (H, W), from 1;
            0 is void.
        segments (list[Segment] | None): Segments of ``panoptic``.
        semantic (np.ndarray | None): Labels, (H, W), uint8, or uint16 of more
            than 255 classes. The largest value of the type stands for no
            class.
        instances (list[Segment] | None): By falling score; masks may
            overlap.
        hidden (tuple[Segment, ...]): Instances of too low a score to be
            among ``instances``, by falling score; see :meth:`filter`.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    thing_classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    category_ids: tuple[int, ...] | None = None
    image_name: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)
    panoptic: np.ndarray | None = field(default=None, repr=False)
    segments: list[Segment] | None = None
    semantic: np.ndarray | None = field(default=None, repr=False)
    instances: list[Segment] | None = None
    hidden: tuple[Segment, ...] = field(default=(), repr=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a result."""
        results = dict(
            panoptic=self.panoptic,
            instance=self.instances,
            semantic=self.semantic,
        )
        return tuple(t for t, found in results.items() if found is not None)

    def segments_of(self, task: str) -> list[Segment]:
        """Return the segments of a task.

        Args:
            task (str): 'panoptic' and 'instance' give ``segments`` and
                ``instances``; 'semantic' gives one segment for each class
                in the image, without a score.

        Raises:
            ValueError: If the task is unknown or has no result.
        """
        if check_task(task) not in self.tasks:
            raise ValueError(
                f'This result has no {task} task, only '
                f'{", ".join(self.tasks) or "none"}: ask the model for it, '
                f'as in inferencer(image, tasks={task!r}).'
            )
        if task == 'panoptic':
            return self.segments or []
        if task == 'instance':
            return self.instances or []
        return self._semantic_segments

    @cached_property
    def _semantic_segments(self) -> list[Segment]:
        assert self.semantic is not None
        # Labels from 0 as ids from 1.
        ids = self.semantic.astype(np.int32) + 1
        ids[self.semantic == ignore_index(len(self.classes))] = 0
        return segments_of_map(
            ids,
            {label + 1: (label, None) for label in range(len(self.classes))},
            self.classes,
            self.thing_classes,
        )

    def category_id(self, label: int) -> int:
        """Return the id that the data set has for a class."""
        return label if self.category_ids is None else self.category_ids[label]

    def filter(self, score_thr: float) -> 'SegmentationResult':
        """Return this result with the instances of at least a score.

        It may be lower than before: instances that a threshold left out stay
        with the result. Panoptic and semantic results do not change.

        Args:
            score_thr (float): 0 to 1; 0 shows all instances.
        """
        if self.instances is None:
            return self
        found = [*self.instances, *self.hidden]
        shown = [s for s in found if s.score is None or s.score >= score_thr]
        return replace(
            self,
            instances=shown,
            hidden=tuple(s for s in found if s not in shown),
        )


def segments_of_map(
    ids: np.ndarray,
    known: dict[int, tuple[int, float | None]],
    classes: tuple[str, ...],
    thing_classes: tuple[str, ...],
) -> list[Segment]:
    """Return the segments that an id map shows, in the order of their ids.

    Args:
        ids (np.ndarray): Ids of segments, from 1, and 0 for void, int32
            (H, W).
        known (dict[int, tuple[int, float | None]]): Label and score by id.
        classes (tuple[str, ...]): Names, by label.
        thing_classes (tuple[str, ...]): Names of the things.
    """
    segments = []
    for id, (area, box) in _measure(ids).items():
        label, score = known[id]
        name = classes[label]
        segments.append(
            Segment(
                id, label, name, name in thing_classes, score, area, box, ids
            )
        )
    return segments


def _measure(
    ids: np.ndarray,
) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Return area and box of each id above 0, by rising id."""
    areas = np.bincount(ids.ravel())
    found = np.flatnonzero(areas)
    measures = {}
    for id in found[found > 0].tolist():
        mask = ids == id
        columns = np.flatnonzero(mask.any(0))
        rows = np.flatnonzero(mask.any(1))
        left, top = int(columns[0]), int(rows[0])
        box = (
            left,
            top,
            int(columns[-1]) + 1 - left,
            int(rows[-1]) + 1 - top,
        )
        measures[id] = (int(areas[id]), box)
    return measures
