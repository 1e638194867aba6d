"""The result of an image, with drawings, files and conversions."""

from collections.abc import Collection
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import (
    coco_instances,
    coco_panoptic,
    cvat,
    fiftyone,
    label_studio,
    plot,
    save,
    supervision,
)
from .task_results import TaskResults

if TYPE_CHECKING:
    from supervision import Detections


class SegmentationResult(TaskResults):
    """What a model found in one image, and ways to show and convert it.

    Its fields, tasks and segments are those of :class:`TaskResults`.

    A package that a conversion needs is imported by the conversion.
    """

    def plot(
        self,
        task: str | None = None,
        image: np.ndarray | None = None,
        opacity: float = 0.5,
        legend: bool = False,
        labels: bool = True,
    ) -> Image.Image:
        """Draw a result over the image.

        Args:
            task (str, optional): By default the first of ``tasks``.
            image (np.ndarray, optional): RGB uint8, (H, W, 3), in place of
                ``self.image``.
            opacity (float): Of the colours, 0 to 1.
            legend (bool): Put the names of the classes to the right.
            labels (bool): Write the name into each segment, and the scores
                of instances.

        Returns:
            Image.Image: A small image comes back enlarged.

        Raises:
            ValueError: If the task has no result, there is no image, or it
                is of another size.
        """
        return plot.plot(self, task, image, opacity, legend, labels)

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
        return save.save(self, Path(folder), name)

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
        return coco_panoptic.to_coco_panoptic(self, image_id, file_name)

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
            ValueError: If the JSON is of another format, the image is not in
                it, an ``iscrowd`` is neither 0 nor 1, or the PNG has an id
                that the JSON lacks.
        """
        return cls(**coco_panoptic.from_coco_panoptic(content, png, image_id))

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
        return coco_instances.to_coco_instances(self, image_id, file_name)

    def to_supervision(self, task: str | None = None) -> 'Detections':
        """Return the segments of a task for supervision.

        Args:
            task (str, optional): By default the first of ``tasks``.

        Returns:
            supervision.Detections: ``data`` has ``class_name``, ``is_thing``
            and ``category_id``. Without scores (semantic), ``confidence`` is
            None.
        """
        return supervision.to_supervision(self, task)

    def to_label_studio(
        self,
        task: str | None = None,
        kind: str = 'brush',
        classes: Collection[str] | None = None,
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
            classes (Collection[str], optional): Leave out all others.
            image_url (str, optional): Address under which Label Studio finds
                the image; by default ``image_name``.
            from_name (str): Name of the control tag.
            to_name (str): Name of the image tag, and of its variable.
            model_version (str): Shown with the prediction.

        Returns:
            dict: A task to import, with ``data`` and ``predictions``.
        """
        return label_studio.to_label_studio(
            self,
            task,
            kind,
            classes,
            image_url,
            from_name,
            to_name,
            model_version,
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
        return fiftyone.to_fiftyone(self)

    def to_cvat(
        self,
        task: str | None = None,
        classes: Collection[str] | None = None,
        polygons: bool = False,
        score_thr: float = 0.0,
    ) -> list:
        """Return the segments of a task as shapes of CVAT.

        Args:
            task (str, optional): By default the first of ``tasks``.
            classes (Collection[str], optional): Leave out all others.
            polygons (bool): Polygons, without holes, in place of masks.
            score_thr (float): Leave out segments of a lower score.

        Returns:
            list: Shapes of ``cvat_sdk.auto_annotation``, whose ``label_id``
            is the label.

        Raises:
            ValueError: If one of ``classes`` is unknown.
        """
        return cvat.to_cvat(self, task, classes, polygons, score_thr)

    def to_transformers(
        self, task: str | None = None, score_thr: float = 0.0
    ) -> list[dict]:
        """Return what the pipeline image-segmentation of transformers does.

        Args:
            task (str, optional): By default the first of ``tasks``.
            score_thr (float): Leave out segments of a lower score.

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
            for segment in self.segments_of(task, score_thr=score_thr)
        ]
