"""From an image to its result, by exported files."""

import logging
import os
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL.Image import Image as PillowImage

from ..errors import InputError, MissingFileError
from ..images import convert_array, convert_image, printable, read_image
from ..results import Segment, SegmentationResult
from ..results.segment import segments_of_map
from ..tasks import TASKS, read_tasks
from ..tiling import input_tiles
from .description import (
    DECODER,
    ENCODER,
    MODEL,
    Description,
    read_description,
)
from .mosaic import ResultMosaic
from .postprocessing import (
    Instance,
    Panoptic,
    fuse_instance,
    fuse_panoptic,
    fuse_semantic,
)
from .preprocessing import normalise, pad, prepare, resize
from .resized_masks import ResizedMasks, Sizes
from .sessions import Session, open_session

Image = str | PathLike | PillowImage | np.ndarray
logger = logging.getLogger(__name__)


class OnnxSegmenter:
    """An exported model; several threads may call it.

    It needs neither torch nor OpenMMLab.

    Args:
        path (str | PathLike): What ``tools/export.py`` wrote: a folder with
            two files, or one file.
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        threads (int, optional): Threads of one call, by default as many as
            the backend chooses.

    Attributes:
        description (Description): What the files say about themselves.

    Raises:
        InputError: If a file was not written by ``tools/export.py``, or two
            files are of different models.
        FileError: If a file cannot be loaded; a :class:`MissingFileError`
            if there is none.
        MissingPackageError: If the backend is not installed.

    Example:
        >>> segmenter = OnnxSegmenter('exported/')
        >>> result = segmenter('a.jpg', tasks=['panoptic', 'semantic'])
        >>> result.segments[0].name, result.segments[0].score
    """

    def __init__(
        self,
        path: str | PathLike,
        backend: str = 'onnxruntime',
        threads: int | None = None,
    ) -> None:
        files = _files_of(Path(path))
        self._sessions: list[Session] = []
        descriptions: list[Description] = []
        for part, file in files.items():
            session = open_session(file, backend, threads)
            held, description = read_description(session.metadata, file)
            if held != part:
                raise InputError(
                    f'{file} holds the part {held}, expected {part}: give '
                    'the folder for a model of two files, or its one file.'
                )
            self._sessions.append(session)
            descriptions.append(description)
        if len(set(descriptions)) > 1:
            raise InputError(
                f'The files of {path} are of different models: export the '
                'model again.'
            )
        self.description = descriptions[0]
        self._warned: set[str] = set()

    def __call__(
        self,
        image: Image,
        tasks: str | Sequence[str] | None = None,
        score_thr: float = 0.3,
    ) -> SegmentationResult:
        """Segment an image.

        Args:
            image (Image): A path, an image of Pillow or an array as OpenCV
                reads it: np.uint8, BGR (H, W, 3), BGRA or grey.
            tasks (str | Sequence[str], optional): Tasks to solve; the image
                encoder runs once for all of them. By default those of the
                model's ``test_cfg``.
            score_thr (float): Instances with a lower score are hidden, see
                :meth:`SegmentationResult.filter`.

        Raises:
            TypeError: If the image is of another kind.
            ImageError: If it cannot be read; it is a ValueError.
            ValueError: If a task is unknown or there is none.
        """
        asked = read_tasks(
            self.description.default_tasks if tasks is None else tasks
        )
        self._warn_if_untrained(asked)
        pixels = read_pixels(image)  # (H, W, 3), BGR
        height, width = pixels.shape[:2]
        if self.description.tile is None:
            maps = self._segment(pixels, asked)
        else:
            maps = self._segment_tiles(pixels, asked)
        name = None
        if isinstance(image, str | PathLike):
            name = os.fsdecode(image)
        return SegmentationResult(
            height=height,
            width=width,
            classes=self.description.classes,
            thing_classes=self.description.thing_classes,
            palette=self.description.palette,
            category_ids=self.description.category_ids,
            image_name=name,
            image=pixels[..., ::-1],
            **maps,
        ).filter(score_thr)

    def _segment(self, pixels: np.ndarray, tasks: Sequence[str]) -> dict:
        """Return the fields of the result of a whole image."""
        known = self.description
        given = prepare(pixels, known)
        sizes = Sizes(given.padded, given.resized, pixels.shape[:2])
        maps: dict = {}
        for task, *prediction in zip(
            tasks, *self._run(given.image, tasks), strict=True
        ):
            cls_scores, mask_preds = prediction
            masks = ResizedMasks(mask_preds, sizes)
            if task == 'semantic':
                maps['semantic'] = fuse_semantic(cls_scores, masks, known)
            elif task == 'panoptic':
                found = fuse_panoptic(cls_scores, masks, known)
                maps |= self._panoptic_fields(found)
            else:
                maps |= self._instance_fields(
                    fuse_instance(cls_scores, masks, known)
                )
        return maps

    def _segment_tiles(self, pixels: np.ndarray, tasks: Sequence[str]) -> dict:
        """Return the fields of the result of an image, tile by tile."""
        known = self.description
        assert known.tile is not None
        resized = normalise(resize(pixels, known), known)
        size = pixels.shape[:2]
        mosaic = ResultMosaic(size, tasks, known)
        for box, place in input_tiles(
            resized.shape[1:], size, known.tile, known.tile_overlap
        ):
            given = pad(
                resized[:, box.top : box.bottom, box.left : box.right], known
            )
            sizes = Sizes(given.padded, given.resized, place.box.size)
            for task, *prediction in zip(
                tasks, *self._run(given.image, tasks), strict=True
            ):
                cls_scores, mask_preds = prediction
                masks = ResizedMasks(mask_preds, sizes)
                mosaic.add(place, task, cls_scores, masks)
        maps: dict = {}
        if 'semantic' in tasks:
            maps['semantic'] = mosaic.semantic_result()
        if 'panoptic' in tasks:
            maps |= self._panoptic_fields(mosaic.panoptic_result())
        if 'instance' in tasks:
            maps |= self._instance_fields(mosaic.instance_result())
        return maps

    def _run(
        self, image: np.ndarray, tasks: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return class logits and mask logits of the tasks, (T, Q, ...)."""
        numbers = np.array([TASKS.index(task) for task in tasks])
        *encoders, last = self._sessions
        if not encoders:
            cls_scores, mask_preds = last.run(tasks=numbers, image=image)
            return cls_scores, mask_preds
        encoder = encoders[0]
        features = zip(encoder.outputs, encoder.run(image=image), strict=True)
        cls_scores, mask_preds = last.run(tasks=numbers, **dict(features))
        return cls_scores, mask_preds

    def _panoptic_fields(self, found: Panoptic) -> dict:
        """Return the fields of a result that are panoptic."""
        segments = segments_of_map(
            found.ids,
            found.known,
            self.description.classes,
            self.description.thing_classes,
        )
        return dict(panoptic=found.ids, segments=segments)

    def _instance_fields(self, instances: Sequence[Instance]) -> dict:
        """Return the fields of a result that are of instances."""
        return dict(
            instances=[
                Segment.from_rle(
                    found.rle,
                    id=number,
                    label=found.label,
                    name=self.description.classes[found.label],
                    is_thing=True,
                    score=found.score,
                )
                for number, found in enumerate(instances, 1)
            ]
        )

    def _warn_if_untrained(self, tasks: Iterable[str]) -> None:
        trained = self.description.trained_tasks
        for task in set(tasks) - set(trained) - self._warned:
            self._warned.add(task)
            logger.warning(
                'The %s task is requested, but the checkpoint was trained for '
                '%s only: do not rely on the result.',
                task,
                ', '.join(trained),
            )


def read_pixels(image: Image) -> np.ndarray:
    """Return an image as np.uint8 (H, W, 3), BGR.

    Raises:
        TypeError: If it is of another kind.
        ImageError: If it cannot be read.
    """
    if isinstance(image, np.ndarray):
        return convert_array(image)
    if isinstance(image, PillowImage):
        name = getattr(image, 'filename', '') or 'of Pillow'
        return convert_image(image, printable(name))
    if isinstance(image, str | PathLike):
        return read_image(image)
    raise TypeError(
        'Expected an array (np.uint8, BGR), a path or an image of Pillow, got '
        f'{type(image).__name__}.'
    )


def _files_of(path: Path) -> dict[str, Path]:
    """Return the files of an exported model by part."""
    if not path.is_dir():
        return {MODEL: path}
    files = {part: path / f'{part}.onnx' for part in (ENCODER, DECODER)}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise MissingFileError(
            f'{path} lacks {" and ".join(missing)}: expected a folder that '
            'tools/export.py wrote.'
        )
    return files
