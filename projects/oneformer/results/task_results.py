"""What was found in an image, by task."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..tasks import check_task, ignore_index
from .segment import Segment, segments_of_map

Results = TypeVar('Results', bound='TaskResults')


@dataclass(frozen=True, eq=False, repr=False)
class TaskResults:
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
            from, if it was. A frame of a video is named as if it were a file
            beside it: ``clip_000012.png`` for the frame 12, from 0, of
            ``clip.mp4``.
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

    Raises:
        ValueError: If a map is of another size, or there is not one category
            id for each class.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    thing_classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    category_ids: tuple[int, ...] | None = None
    image_name: str | None = None
    image: np.ndarray | None = None
    panoptic: np.ndarray | None = None
    segments: list[Segment] | None = None
    semantic: np.ndarray | None = None
    instances: list[Segment] | None = None
    hidden: tuple[Segment, ...] = ()

    def __repr__(self) -> str:
        counts = [f'{t} {len(self.segments_of(t))}' for t in self.tasks]
        return (
            f'<{type(self).__name__} of {self.image_name or "an image"}, '
            f'{self.width} x {self.height}, segments: {", ".join(counts)}>'
        )

    def __post_init__(self) -> None:
        for name in ('panoptic', 'semantic', 'image'):
            array = getattr(self, name)
            if array is not None and array.shape[:2] != self.size:
                raise ValueError(
                    f'Expected {name} of {self.size} (height, width), got '
                    f'{array.shape[:2]}.'
                )
        ids = self.category_ids
        number = len(self.classes)
        if ids is not None and (len(ids) != number or len(set(ids)) != number):
            raise ValueError(
                f'Expected {number} category_ids, one for each '
                f'class and all different, got {list(ids)}.'
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def stem(self) -> str | None:
        """Name of the image without folder and ending, None if it has none."""
        if self.image_name is None:
            return None
        name = self.image_name
        if '://' in name:  # of an address, the question is no name
            name = name.partition('?')[0]
        return Path(name).stem

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a result."""
        results = dict(
            panoptic=self.panoptic,
            instance=self.instances,
            semantic=self.semantic,
        )
        return tuple(t for t, found in results.items() if found is not None)

    def choose_task(self, task: str | None = None) -> str:
        """Return a task that has a result, by default the first of them.

        Raises:
            ValueError: If the task is unknown or has no result.
        """
        tasks = self.tasks
        if task is None and tasks:
            return tasks[0]
        if task is None or check_task(task) not in tasks:
            raise ValueError(
                f'This result is of {", ".join(tasks) or "no task"}, not of '
                f'{task or "any"}: ask the model for it, as in '
                "inferencer(image, tasks=['panoptic', 'semantic'])."
            )
        return task

    def segments_of(
        self,
        task: str | None = None,
        classes: Collection[str] | None = None,
        score_thr: float = 0.0,
    ) -> list[Segment]:
        """Return the segments of a task.

        Args:
            task (str, optional): 'panoptic' and 'instance' give ``segments``
                and ``instances``; 'semantic' gives one segment for each
                class in the image, without a score. By default the first of
                ``tasks``.
            classes (Collection[str], optional): Leave out all others.
            score_thr (float): Leave out segments of a lower score.

        Raises:
            ValueError: If the task is unknown or has no result, or a class
                is unknown.
        """
        if unknown := set(classes or ()) - set(self.classes):
            raise ValueError(
                f'Unknown classes {sorted(unknown)}: the model has '
                f'{list(self.classes)}.'
            )
        found = dict(
            panoptic=lambda: self.segments or [],
            instance=lambda: self.instances or [],
            semantic=lambda: self._semantic_segments,
        )
        return [
            segment
            for segment in found[self.choose_task(task)]()
            if (classes is None or segment.name in classes)
            and (segment.score is None or segment.score >= score_thr)
        ]

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

    def filter(self: Results, score_thr: float) -> Results:
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
