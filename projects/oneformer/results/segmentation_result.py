"""The result of an image in all tasks that were asked for."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..tasks import check_task, ignore_index
from .segment import Segment

if TYPE_CHECKING:
    import supervision


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
            from, if it was. A frame of a video is named as if it were a file
            beside it: ``clip_000012.png`` for the frame 12, from 0, of
            ``clip.mp4``.
        image (np.ndarray | None): The image, RGB uint8 (H, W, 3), for
            :meth:`plot`.
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
    image: np.ndarray | None = field(default=None, repr=False)
    panoptic: np.ndarray | None = field(default=None, repr=False)
    segments: list[Segment] | None = None
    semantic: np.ndarray | None = field(default=None, repr=False)
    instances: list[Segment] | None = None
    hidden: tuple[Segment, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in ('panoptic', 'semantic', 'image'):
            array = getattr(self, name)
            if array is not None and array.shape[:2] != self.size:
                raise ValueError(
                    f'Expected {name} of {self.size} (height, width), got '
                    f'{array.shape[:2]}.'
                )
        ids = self.category_ids
        if ids is not None and len(set(ids)) != len(self.classes):
            raise ValueError(
                f'Expected {len(self.classes)} category_ids, one for each '
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
        return Path(self.image_name.partition('?')[0]).stem

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

    def segments_of(self, task: str | None = None) -> list[Segment]:
        """Return the segments of a task.

        Args:
            task (str, optional): 'panoptic' and 'instance' give ``segments``
                and ``instances``; 'semantic' gives one segment for each
                class in the image, without a score. By default the first of
                ``tasks``.

        Raises:
            ValueError: If the task is unknown or has no result.
        """
        task = self.choose_task(task)
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

    # -------------------------------------------------- drawings and files

    def plot(
        self,
        task: str | None = None,
        image: np.ndarray | None = None,
        opacity: float = 0.5,
        legend: bool = False,
    ) -> Image.Image:
        """Draw a result over the image.

        Args:
            task (str, optional): By default the first of ``tasks``.
            image (np.ndarray, optional): RGB uint8, (H, W, 3), in place of
                ``self.image``.
            opacity (float): Of the colours, 0 to 1.
            legend (bool): Put the names of the classes to the right.

        Returns:
            Image.Image: A small image comes back enlarged.

        Raises:
            ValueError: If the task has no result, there is no image, or it
                is of another size.
        """
        from .plot import plot

        return plot(self, task, image, opacity, legend)

    def _repr_png_(self) -> bytes | None:
        """Return what notebooks show; None without an image."""
        if self.image is None or not self.tasks:
            return None
        content = BytesIO()
        self.plot().save(content, 'PNG')
        return content.getvalue()

    def save(
        self, folder: str | PathLike, name: str | None = None
    ) -> list[Path]:
        """Write drawings, maps and a JSON; files of these names are replaced.

        Args:
            folder (str | PathLike): Made if it does not exist.
            name (str, optional): Begins the names of the files; by default
                that of the image without its ending.

        Returns:
            list[Path]: The files, for each task that has a result:

            - ``{name}.json``: size, classes, and segments of all tasks as in
              :meth:`Segment.to_dict`, with their ``id``;
            - ``{name}_{task}.png``: a drawing, if there is an image;
            - ``{name}_panoptic_ids.png``: ids as colours, red + 256 green +
              65536 blue, as in COCO;
            - ``{name}_semantic_labels.png``: labels, 8 or 16 bits.

        Raises:
            ValueError: If the image has no name, and none is given.
        """
        from .save import save

        return save(self, Path(folder), name)

    # ---------------------------------------------------------- other tools

    def to_polygons(
        self, task: str | None = None, tolerance: float = 0.0
    ) -> list[dict]:
        """Return the segments of a task as polygons.

        Args:
            task (str, optional): By default the first of ``tasks``.
            tolerance (float): See :meth:`Segment.polygons`.

        Returns:
            list[dict]: Of each segment ``label``, ``class``, ``is_thing``,
            ``area``, ``bbox``, maybe ``score``, and ``segmentation``, a list
            of polygons [x1, y1, x2, y2, ...] as in COCO.
        """
        return [
            dict(
                segment.to_dict(),
                segmentation=[
                    polygon.ravel().tolist()
                    for polygon in segment.polygons(tolerance)
                ],
            )
            for segment in self.segments_of(task)
        ]

    def to_coco_panoptic(
        self, image_id: int = 1, file_name: str | None = None
    ) -> tuple[dict, np.ndarray]:
        """Return the panoptic result in COCO's format.

        Args:
            image_id (int): Id of the image.
            file_name (str, optional): Of the image; by default that of
                ``image_name``.

        Returns:
            tuple[dict, np.ndarray]: ``images``, ``annotations`` and
            ``categories`` of the JSON, and the PNG that the annotation
            names: ids as colours, RGB uint8 (H, W, 3). Segments have a
            ``score`` besides COCO's keys.
        """
        from .coco_panoptic import to_coco_panoptic

        return to_coco_panoptic(self, image_id, file_name)

    @classmethod
    def from_coco_panoptic(
        cls, content: dict, png: np.ndarray, image_id: int | None = None
    ) -> 'SegmentationResult':
        """Return a panoptic annotation or prediction as a result.

        Args:
            content (dict): COCO's JSON.
            png (np.ndarray): Its PNG, RGB uint8 (H, W, 3).
            image_id (int, optional): Which image; needed if there are
                several.

        Raises:
            ValueError: If the image is not in the JSON, or the PNG has an id
                that the JSON lacks.
        """
        from .coco_panoptic import from_coco_panoptic

        return from_coco_panoptic(content, png, image_id)

    def to_coco_instances(
        self, image_id: int = 1, file_name: str | None = None
    ) -> dict:
        """Return the instances in COCO's format.

        Args:
            image_id (int): Id of the image.
            file_name (str, optional): Of the image; by default that of
                ``image_name``.

        Returns:
            dict: ``images``, ``annotations`` (with a ``score``) and
            ``categories``, as pycocotools reads it. Its ``annotations`` are
            what ``loadRes`` reads.
        """
        from .coco_instances import to_coco_instances

        return to_coco_instances(self, image_id, file_name)

    def to_supervision(
        self, task: str | None = None
    ) -> 'supervision.Detections':
        """Return the segments of a task for supervision.

        Args:
            task (str, optional): By default the first of ``tasks``.

        Returns:
            supervision.Detections: ``data`` has ``class_name``, ``is_thing``
            and ``category_id``. Without scores (semantic), ``confidence`` is
            None.
        """
        from .supervision import to_supervision

        return to_supervision(self, task)

    def to_label_studio(
        self,
        task: str | None = None,
        kind: str = 'brush',
        image_url: str | None = None,
        from_name: str = 'label',
        to_name: str = 'image',
        model_version: str = 'OneFormer',
    ) -> dict:
        """Return the segments of a task as a prediction for Label Studio.

        Args:
            task (str, optional): By default the first of ``tasks``.
            kind (str): 'brush' (``BrushLabels``, of which the package
                label-studio-sdk packs the masks), 'bitmask'
                (``BitmaskLabels``, PNG) or 'polygon' (``PolygonLabels``,
                without holes).
            image_url (str, optional): Address under which Label Studio finds
                the image; by default ``image_name``.
            from_name (str): Name of the control tag.
            to_name (str): Name of the image tag, and of its variable.
            model_version (str): Shown with the prediction.

        Returns:
            dict: A task to import, with ``data`` and ``predictions``.
        """
        from .label_studio import to_label_studio

        return to_label_studio(
            self, task, kind, image_url, from_name, to_name, model_version
        )

    def to_fiftyone(self) -> dict:
        """Return a label of FiftyOne for each field of a sample.

        Returns:
            dict: ``semantic``, a Segmentation of labels from 1, as FiftyOne
            shows no 0 (see
            :func:`~projects.oneformer.results.fiftyone.mask_targets`);
            ``instance``, Detections; ``panoptic``, Detections of things and
            stuff, as FiftyOne has no label for panoptic results. Those of
            the tasks that have a result.
        """
        from .fiftyone import to_fiftyone

        return to_fiftyone(self)

    def to_cvat(
        self,
        task: str | None = None,
        classes: list[str] | None = None,
        polygons: bool = False,
    ) -> list:
        """Return the segments of a task as shapes of CVAT.

        Args:
            task (str, optional): By default the first of ``tasks``.
            classes (list[str], optional): Leave out all others.
            polygons (bool): Polygons, without holes, in place of masks.

        Returns:
            list: Shapes of ``cvat_sdk.auto_annotation``, whose ``label_id``
            is the label.

        Raises:
            ValueError: If one of ``classes`` is unknown.
        """
        from .cvat import to_cvat

        return to_cvat(self, task, classes, polygons)

    def to_transformers(self, task: str | None = None) -> list[dict]:
        """Return what the pipeline image-segmentation of transformers does.

        Args:
            task (str, optional): By default the first of ``tasks``.

        Returns:
            list[dict]: Of each segment ``score`` (None in semantic results),
            ``label``, the name, and ``mask``, an image of mode L with 255
            inside. The stuff of a class is one segment.
        """
        return [
            dict(
                score=segment.score,
                label=segment.name,
                mask=Image.fromarray(segment.mask.astype(np.uint8) * 255),
            )
            for segment in self.segments_of(task)
        ]


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
