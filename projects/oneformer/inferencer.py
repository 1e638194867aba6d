"""From images to results of any task."""

import os
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from os import PathLike

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from PIL.Image import Image as PillowImage
from pycocotools import mask as coco_mask

from .images import ImageError, convert_image, image_errors, printable
from .tasks import RESULT_FIELDS, check_task, read_tasks
from .tiling import Box, Mosaic, tile_grid
from .weights.reader import load_weights

Image = str | PathLike | PillowImage | np.ndarray
ANNOTATION_TRANSFORMS = (
    'LoadSegments',
    'LoadPanopticSegments',
    'LoadPanopticAnnotations',
    'LoadAnnotations',
    'EvalTargets',
)


class OneFormerInferencer:
    """A model with its test pipeline; several threads may call it.

    Args:
        config (str | PathLike | Config): The config that the weights were
            trained with; its test pipeline prepares the images.
        weights (str | PathLike): Checkpoint.
        device (str, optional): ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ... By
            default a GPU if there is one.
        compile (bool): Run the model through ``torch.compile``. The first
            image of each size takes a while, the others are faster.
        tile (int, optional): Cut images into tiles of this height and width
            and join their results by the rules of
            :mod:`projects.oneformer.tiling`. Results are on the CPU then.
        overlap (int, optional): Pixels that neighbouring tiles share; by
            default a quarter of the tile.
        tile_score_thr (float): Instances of a tile with a lower score are
            dropped, as every mask has the size of the image.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the checkpoint does not fit the config, or the overlap
            is over half of the tile.

    Example:
        >>> inferencer = OneFormerInferencer('config.py', 'weights.pth')
        >>> for sample in inferencer(['a.jpg', 'b.jpg'], tasks=['panoptic']):
        ...     sample.pred_panoptic_seg.sem_seg  # (1, H, W)
    """

    def __init__(
        self,
        config: str | PathLike | Config,
        weights: str | PathLike,
        device: str | None = None,
        compile: bool = False,
        tile: int | None = None,
        overlap: int | None = None,
        tile_score_thr: float = 0.0,
    ) -> None:
        if tile is None and overlap is not None:
            raise ValueError('An overlap needs the size of tiles: set tile.')
        self.tile = tile
        self.overlap = overlap
        self.tile_score_thr = tile_score_thr
        if tile is not None:
            self.overlap = tile // 4 if overlap is None else overlap
            tile_grid(1, 1, tile, self.overlap)  # raises if they do not fit
        if not isinstance(config, Config):
            config = Config.fromfile(config)
        init_default_scope(config.get('default_scope', 'mmdet'))
        self.model = MODELS.build(inference_model(config.model))
        load_weights(self.model, str(weights))
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model.to(device).eval()
        if compile:
            self.model.compile_parts()
        self.dataset_meta = dict(config.model.metainfo)
        steps = [
            step
            for step in config.test_dataloader.dataset.pipeline
            if step['type'] not in ANNOTATION_TRANSFORMS
        ]
        if steps[0]['type'] != 'LoadImageFromFile':
            raise ValueError(
                'Expected a test pipeline that begins with LoadImageFromFile, '
                f'got {steps[0]["type"]}.'
            )
        self._from_file = Compose(steps[:1])
        self._from_array = Compose([dict(type='mmdet.LoadImageFromNDArray')])
        self._prepare_loaded = Compose(steps[1:])

    def __call__(
        self,
        images: Image | Iterable[Image],
        tasks: str | Sequence[str] | None = None,
        batch_size: int = 1,
        return_errors: bool = False,
    ) -> Iterator[DetDataSample | ImageError]:
        """Yield one data sample per image, in their order.

        Args:
            images (Image | Iterable[Image]): Paths, images of Pillow or
                arrays. They may differ in size. Arrays are np.uint8 and BGR,
                as OpenCV reads them: (H, W, 3), (H, W, 4), whose alpha is
                dropped, or grey, (H, W) or (H, W, 1).
            tasks (str | Sequence[str], optional): Each gets its own task
                token; backbone and pixel decoder run once for all. By default
                ``test_cfg.tasks`` of the model.
            batch_size (int): Images that go through the model together.
            return_errors (bool): Yield the :class:`ImageError` of an image
                that cannot be read in the place of its sample, and go on. By
                default it is raised after the samples of the images before.

        Yields:
            DetDataSample: With ``pred_panoptic_seg``, ``pred_instances`` and
            ``pred_sem_seg``, those of the tasks, in the size of the image.

        Raises:
            TypeError: If an image is of another kind; of a sequence at once.
            ImageError: If an image cannot be read or is no such array; it is
                a ValueError, and a FileNotFoundError if there is no file.
            ValueError: At once, if a task is unknown, there is none, or the
                batch size is not positive.
        """
        if isinstance(images, Image):
            images = [images]
        elif isinstance(images, Sequence) and not isinstance(images, bytes):
            for image in images:
                _check_kind(image)
        elif not isinstance(images, Iterable) or isinstance(
            images, bytes | torch.Tensor
        ):
            _check_kind(images)
        tasks = self.model.tasks if tasks is None else read_tasks(tasks)
        if batch_size < 1:
            raise ValueError(
                f'Expected a batch size of 1 or more, got {batch_size}.'
            )
        return self._results(images, tasks, batch_size, return_errors)

    def read(self, image: Image) -> np.ndarray:
        """Return an image as the model reads it.

        Returns:
            np.ndarray: np.uint8 (H, W, 3), BGR, before it is resized.

        Raises:
            TypeError: If it is of another kind.
            ImageError: If it cannot be read.
        """
        return self._load(image)['img']

    def _results(
        self,
        images: Iterable[Image],
        tasks: tuple[str, ...],
        batch_size: int,
        return_errors: bool,
    ) -> Iterator[DetDataSample | ImageError]:
        batch: list[dict] = []
        for image in images:
            outcome: DetDataSample | ImageError | None = None
            try:
                loaded = self._load(image)
                if self.tile is None:
                    batch.append(self._prepare(loaded, image))
                else:
                    outcome = self._segment_tiles(loaded, tasks, batch_size)
            except ImageError as error:
                outcome = error
            if batch and (outcome is not None or len(batch) == batch_size):
                yield from self._segment(batch, tasks)
                batch = []
            if isinstance(outcome, ImageError) and not return_errors:
                raise outcome
            if outcome is not None:
                yield outcome
        if batch:
            yield from self._segment(batch, tasks)

    def _load(self, image: Image) -> dict:
        """Return an image after the first step of the pipeline."""
        _check_kind(image)
        name = _name(image)
        if isinstance(image, PillowImage):
            image = convert_image(image, name)
        if isinstance(image, np.ndarray):
            return self._from_array(dict(img=_as_bgr(image), img_id=0))
        with image_errors(name):
            return self._from_file(dict(img_path=os.fsdecode(image), img_id=0))

    def _prepare(self, loaded: dict, image: Image) -> dict:
        """Return a loaded image as the model reads it."""
        height, width = loaded['img'].shape[:2]
        try:
            return self._prepare_loaded(loaded)
        except Exception as error:  # of any transform, on this image
            raise ImageError(
                f'Image {_name(image)} of {width} x {height} pixels does not '
                f'pass the test pipeline ({type(error).__name__}: {error}). '
                'If it is very thin, resizing leaves nothing of a side: pad '
                'it.'
            ) from error

    def _segment_tiles(
        self, loaded: dict, tasks: tuple[str, ...], batch_size: int
    ) -> DetDataSample:
        """Return the joined result of the tiles of an image."""
        image, path = loaded['img'], loaded['img_path']
        assert self.tile is not None and self.overlap is not None
        size = height, width = image.shape[:2]
        mosaic = Mosaic(
            height,
            width,
            len(self.dataset_meta['classes']),
            tasks,
            self.tile_score_thr,
        )
        tiles = tile_grid(height, width, self.tile, self.overlap)
        for start in range(0, len(tiles), batch_size):
            part = tiles[start : start + batch_size]
            samples = self._segment(
                [
                    self._prepare(
                        self._load(image[tile.box.within(Box(0, 0, *size))]),
                        image if path is None else path,
                    )
                    for tile in part
                ],
                tasks,
                semantic_scores=True,
            )
            for tile, sample in zip(part, samples, strict=True):
                mosaic.add(tile, sample)
        keys = ('img_id', 'img_path')
        result = DetDataSample(
            metainfo=dict(
                {key: loaded[key] for key in keys if key in loaded},
                ori_shape=size,
                img_shape=size,
            )
        )
        mosaic.write(result)
        return result

    @torch.no_grad()
    def _segment(
        self,
        batch: list[dict],
        tasks: tuple[str, ...],
        semantic_scores: bool = False,
    ) -> list[DetDataSample]:
        for data in batch:
            data['data_samples'].set_metainfo(
                dict(tasks=tasks, semantic_scores=semantic_scores)
            )
        return self.model.test_step(pseudo_collate(batch))


def _check_kind(image: object) -> None:
    """Raise TypeError for what is no image."""
    if not isinstance(image, Image):
        raise TypeError(
            'Expected an array (np.uint8, BGR), a path or an image of Pillow, '
            f'or several of them, got {type(image).__name__}.'
        )


def _name(image: Image) -> str:
    """Return what messages call an image."""
    if isinstance(image, str | PathLike):
        return printable(image)
    if isinstance(image, PillowImage):
        return printable(getattr(image, 'filename', '') or 'of Pillow')
    return 'of an array'


def _as_bgr(array: np.ndarray) -> np.ndarray:
    """Return an array with three channels, np.uint8 (H, W, 3)."""
    pixels = array[..., None] if array.ndim == 2 else array
    if (
        pixels.ndim != 3
        or pixels.shape[-1] not in (1, 3, 4)
        or pixels.dtype != np.uint8
        or not pixels.size
    ):
        raise ImageError(
            'Expected an array uint8 of shape (H, W), (H, W, 1), (H, W, 3) '
            f'or (H, W, 4), in BGR and not empty, got {array.dtype} of '
            f'{array.shape}. Scale other types to 0 .. 255.'
        )
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    return pixels[..., :3]


def inference_model(model: ConfigDict) -> ConfigDict:
    """Return the config of a model without what only training needs.

    That is the text branch, the losses and the initial weights.

    Args:
        model (ConfigDict): ``model`` of a config; it does not change.
    """
    model = deepcopy(model)
    model.train_cfg = None
    model.init_cfg = model.backbone.init_cfg = None
    return model


def describe(
    sample: DetDataSample,
    task: str,
    dataset_meta: dict,
    score_thr: float = 0.3,
) -> list[dict]:
    """List the segments of a result in plain types for JSON.

    Args:
        sample (DetDataSample): With the result of ``task``.
        task (str): Which result.
        dataset_meta (dict): ``classes`` and ``thing_classes``.
        score_thr (float): Instances with a lower score are left out.

    Returns:
        list[dict]: Of each segment ``label`` (index of its class), ``class``,
        ``is_thing``, ``area`` in pixels, ``bbox`` (x, y, width, height),
        ``segmentation`` (COCO run lengths) and, for instances, ``score``.
    """
    result = sample.get(RESULT_FIELDS[check_task(task)])
    classes = dataset_meta['classes']
    if task == 'instance':
        kept = result.scores >= score_thr
        return [
            dict(
                _describe_mask(mask, label, dataset_meta),
                score=round(score, 4),
            )
            for mask, label, score in zip(
                result.masks[kept].cpu().numpy(),
                result.labels[kept].tolist(),
                result.scores[kept].tolist(),
                strict=True,
            )
        ]
    codes = result.sem_seg[0].cpu().numpy()
    return [
        _describe_mask(codes == code, code % INSTANCE_OFFSET, dataset_meta)
        for code in np.unique(codes).tolist()
        if code % INSTANCE_OFFSET < len(classes)
    ]


def _describe_mask(mask: np.ndarray, label: int, dataset_meta: dict) -> dict:
    run_lengths = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    name = dataset_meta['classes'][label]
    return dict(
        label=label,
        **{'class': name},
        is_thing=name in dataset_meta['thing_classes'],
        area=int(mask.sum()),
        bbox=coco_mask.toBbox(run_lengths).tolist(),
        segmentation=dict(
            size=list(mask.shape), counts=run_lengths['counts'].decode()
        ),
    )
