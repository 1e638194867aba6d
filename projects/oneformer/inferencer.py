"""From images to results of any task."""

import os
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from .datasets.transforms.annotation_transform import reads_annotations
from .errors import InputError, user_errors
from .evaluation.result_files import category_ids
from .images import ImageError, image_errors
from .input_images import (
    CHANNEL_ORDERS,
    Frame,
    Image,
    check_images,
    check_kind,
    list_images,
    name_of,
    pixels_of,
)
from .models.tiled_segmentation import SampleMosaic
from .pretrained import (
    CardFacts,
    find_pretrained,
    save_folder,
    settings_of,
    upload_folder,
)
from .results import SegmentationResult
from .sample_result import result_of_sample
from .tasks import TASKS, check_task, read_tasks
from .tiling import Box, tile_grid
from .weights.inference_model import inference_model
from .weights.reader import load_weights


class Outcome(NamedTuple):
    """What became of an image.

    Attributes:
        name (str | None): Path or address, if it has one.
        pixels (np.ndarray | None): BGR; None if it cannot be read.
        found (DetDataSample | ImageError): Results, or why there are none.
    """

    name: str | None
    pixels: np.ndarray | None
    found: DetDataSample | ImageError


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
            :mod:`projects.oneformer.tiling`. Results are on the CPU
            then. Unlike tiles of the config, ``test_cfg.tile``, each goes
            through the whole test pipeline.
        overlap (int, optional): Pixels that neighbouring tiles share; by
            default a quarter of the tile.
        tile_score_thr (float): Instances of a tile with a lower score are
            dropped, as every mask has the size of the image.
        channel_order (str): Of arrays, 'bgr', as OpenCV reads images, or
            'rgb'. Tensors are RGB in any case, as torchvision reads images.
        category_file (str | PathLike, optional): JSON in the COCO layout
            whose categories give results their ``category_ids``, by name. By
            default they are those of ``metainfo`` in the config, if it has
            any.

    Raises:
        FileNotFoundError: If there is no such checkpoint or category file.
        ValueError: If the checkpoint does not fit the config, the overlap
            is over half of the tile, the config has tiles of its own, the
            channel order is unknown, or a class is not in the category file.

    Example:
        >>> inferencer = OneFormerInferencer('config.py', 'weights.pth')
        >>> for result in inferencer(['a.jpg', 'b.jpg'], tasks=['panoptic']):
        ...     result.save('out')
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
        channel_order: str = 'bgr',
        category_file: str | PathLike | None = None,
    ) -> None:
        if channel_order not in CHANNEL_ORDERS:
            raise InputError(
                f'Unknown channel_order {channel_order!r}: expected '
                f'{" or ".join(map(repr, CHANNEL_ORDERS))}.'
            )
        self.channel_order = channel_order
        if tile is None and overlap is not None:
            raise InputError('An overlap needs the size of tiles: set tile.')
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
        if tile is not None and self.model.tiled is not None:
            raise InputError(
                'The config cuts images into tiles already, by '
                f'model.test_cfg.tile={config.model.test_cfg.tile}: leave out '
                'tile, or set that to None.'
            )
        load_weights(self.model, str(weights))
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model.to(device).eval()
        if compile:
            self.model.compile_parts()
        self.config = config
        self.dataset_meta = dict(config.model.metainfo)
        if category_file is not None:
            with user_errors():
                self.dataset_meta['category_ids'] = category_ids(
                    os.fspath(category_file), self.dataset_meta['classes']
                )
        steps = [
            step
            for step in config.test_dataloader.dataset.pipeline
            if not reads_annotations(step)
        ]
        first = steps[0]['type'] if steps else 'no step'
        if first != 'LoadImageFromFile':
            raise InputError(
                'Expected a test pipeline that begins with LoadImageFromFile, '
                f'got {first}: set it in test_dataloader.dataset.pipeline.'
            )
        self._from_file = Compose(steps[:1])
        self._from_array = Compose([dict(type='mmdet.LoadImageFromNDArray')])
        self._prepare_loaded = Compose(steps[1:])

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike,
        device: str | None = None,
        config: str | PathLike | Config | None = None,
        revision: str | None = None,
        token: str | None = None,
        compile: bool = False,
        tile: int | None = None,
        overlap: int | None = None,
        tile_score_thr: float = 0.0,
        channel_order: str = 'bgr',
    ) -> 'OneFormerInferencer':
        """Return a model by its name.

        Args:
            source (str | PathLike): A folder of :meth:`save_pretrained` or of
                transformers' OneFormer, the name of either on the Hub, as
                ``shi-labs/oneformer_ade20k_swin_tiny``, or a checkpoint: one
                of the reference, or any with its ``config``.
            device (str, optional): As for the class.
            config (str | PathLike | Config, optional): Config of a
                checkpoint, a path or the name of a shipped one. It is a
                program; nothing else here runs code.
            revision (str, optional): Branch, tag or commit on the Hub.
            token (str, optional): For private and gated models of the Hub.
            compile (bool): As for the class, and so are the others.
            tile (int, optional): See the class.
            overlap (int, optional): See the class.
            tile_score_thr (float): See the class.
            channel_order (str): See the class.

        Raises:
            FileNotFoundError: If there is nothing of this name.
            ValueError: If it is no OneFormer, or its config is not clear.
            OSError: If the Hub cannot be reached.
        """
        found = find_pretrained(source, config, revision, token)
        return cls(
            found.config,
            found.weights,
            device,
            compile=compile,
            tile=tile,
            overlap=overlap,
            tile_score_thr=tile_score_thr,
            channel_order=channel_order,
        )

    def save_pretrained(
        self,
        folder: str | PathLike,
        float16: bool = False,
        facts: CardFacts | None = None,
        overwrite: bool = False,
        name: str | None = None,
    ) -> None:
        """Write a folder that :meth:`from_pretrained` reads.

        It holds ``config.json``, ``model.safetensors`` and a card, without
        any code, and appears only when it is complete.

        Args:
            folder (str | PathLike): Where to.
            float16 (bool): Write weights in half the space.
            facts (CardFacts, optional): Data, scores and licence for the
                card.
            overwrite (bool): Replace a folder of this kind.
            name (str, optional): Of the model in its card, by default that of
                the folder.

        Raises:
            OSError: If the folder exists and is not to be replaced.
            ValueError: If a folder has no place for something in the config.
        """
        save_folder(
            self.model,
            settings_of(self.config, self.model.trained_tasks),
            folder,
            float16=float16,
            facts=facts,
            overwrite=overwrite,
            name=name,
        )

    def push_to_hub(
        self,
        repo_id: str,
        float16: bool = False,
        facts: CardFacts | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes, and return its address.

        Args:
            repo_id (str): ``owner/name``; made if there is none.
            float16 (bool): Upload weights in half the space.
            facts (CardFacts, optional): Data, scores and licence for the
                card.
            private (bool, optional): Whether a new repository is private.
            token (str, optional): By default the one that ``hf auth login``
                saved.
            message (str, optional): Of the commit.

        Raises:
            ValueError: If the Hub does not accept name, token or content.
            OSError: If the Hub cannot be reached.
        """
        with TemporaryDirectory() as parent:
            folder = Path(parent, 'model')
            self.save_pretrained(folder, float16, facts, name=repo_id)
            return upload_folder(folder, repo_id, private, token, message)

    def __call__(
        self,
        images: Image | Iterable[Image],
        tasks: str | Sequence[str] | None = None,
        batch_size: int = 1,
        return_errors: bool = False,
        score_thr: float = 0.3,
    ) -> Iterator[SegmentationResult | ImageError]:
        """Yield one result per image, in their order.

        Args:
            images (Image | Iterable[Image]): One, or a list, generator or
                other iterable of these, which may differ in size:

                - path of an image, of a folder (its images, by name) or of a
                  video (a result per frame), or an address, http(s)://...,
                  of an image;
                - image of Pillow;
                - array, np.uint8, in the ``channel_order`` of the
                  inferencer: (H, W, 3), (H, W, 4), whose alpha is dropped,
                  or grey, (H, W) or (H, W, 1);
                - tensor, torch.uint8, (3, H, W) in RGB or (1, H, W), as
                  torchvision reads images.
            tasks (str | Sequence[str], optional): Each gets its own task
                token; backbone and pixel decoder run once for all. By default
                ``test_cfg.tasks`` of the model.
            batch_size (int): Images that go through the model together.
            return_errors (bool): Yield the :class:`ImageError` of an image
                that cannot be read in the place of its result, and go on. By
                default it is raised after the results of the images before.
            score_thr (float): Instances with a lower score are left out;
                ``result.filter`` brings them back.

        Yields:
            SegmentationResult: With the results of the tasks, in the size of
            the image. It refers to the pixels of an array.

        Raises:
            TypeError: If an image is of another kind; of a sequence at once.
            ImageError: If an image cannot be read or is no such array; it is
                a ValueError, and a FileNotFoundError if there is no file.
            ValueError: At once, if a task is unknown, there is none, the
                batch size is not positive, or the threshold is not from 0 to
                1.
        """
        if not 0 <= score_thr <= 1:
            raise InputError(
                f'Expected a score_thr of 0 to 1, got {score_thr}.'
            )
        asked = self._check_call(images, tasks, batch_size)
        outcomes = self._outcomes(images, asked, batch_size, return_errors)
        return (
            outcome.found
            if isinstance(outcome.found, ImageError)
            else self._result(outcome, asked, score_thr)
            for outcome in outcomes
        )

    def samples(
        self,
        images: Image | Iterable[Image],
        tasks: str | Sequence[str] | None = None,
        batch_size: int = 1,
        return_errors: bool = False,
    ) -> Iterator[DetDataSample | ImageError]:
        """Yield one data sample per image, for metrics and hooks of mmdet.

        Arguments and errors are those of a call.

        Yields:
            DetDataSample: With ``pred_panoptic_seg``, ``pred_instances`` (of
            all scores) and ``pred_sem_seg``, those of the tasks, in the size
            of the image and on the device of the model.
        """
        asked = self._check_call(images, tasks, batch_size)
        outcomes = self._outcomes(images, asked, batch_size, return_errors)
        return (outcome.found for outcome in outcomes)

    @torch.no_grad()
    def by_token(
        self,
        image: Image,
        task: str,
        tokens: Sequence[str] = TASKS,
        score_thr: float = 0.3,
    ) -> dict[str, SegmentationResult]:
        """Return the results of one task, made with each of several tokens.

        They show what the token changes: usually the result of a task is
        made with its own token. Backbone and pixel decoder run once. The
        image is not cut into tiles.

        Args:
            image (Image): One image, as for a call.
            task (str): The task of the results.
            tokens (Sequence[str]): Tasks whose tokens to decode with.
            score_thr (float): As for a call.

        Returns:
            dict[str, SegmentationResult]: By token.

        Raises:
            TypeError: If the image is of another kind.
            ImageError: If it cannot be read.
            ValueError: If a task is unknown.
        """
        check_kind(image)
        check_task(task)
        loaded = self._load(image)
        pixels = loaded['img']
        data = self.model.data_preprocessor(
            pseudo_collate([self._prepare(loaded, image)]), False
        )
        features = self.model.pixel_features(data['inputs'])
        results = {}
        for token in read_tasks(tokens):
            self.model.segment(
                features, data['data_samples'], [token], results=[task]
            )
            results[token] = result_of_sample(
                data['data_samples'][0],
                self.dataset_meta,
                [task],
                score_thr,
                image=pixels[..., ::-1],
            )
        return results

    def read(self, image: Image) -> np.ndarray:
        """Return an image as the model reads it.

        Returns:
            np.ndarray: np.uint8 (H, W, 3), BGR, before it is resized.

        Raises:
            TypeError: If it is of another kind.
            ImageError: If it cannot be read.
        """
        check_kind(image)
        return self._load(image)['img']

    def _check_call(
        self,
        images: Image | Iterable[Image],
        tasks: str | Sequence[str] | None,
        batch_size: int,
    ) -> tuple[str, ...]:
        """Check what can be checked before the first image; return tasks."""
        check_images(images)
        if batch_size < 1:
            raise InputError(
                f'Expected a batch size of 1 or more, got {batch_size}.'
            )
        return self.model.tasks if tasks is None else read_tasks(tasks)

    def _result(
        self, outcome: Outcome, tasks: tuple[str, ...], score_thr: float
    ) -> SegmentationResult:
        assert isinstance(outcome.found, DetDataSample)
        assert outcome.pixels is not None
        return result_of_sample(
            outcome.found,
            self.dataset_meta,
            tasks,
            score_thr,
            image=outcome.pixels[..., ::-1],
            image_name=outcome.name,
        )

    def _outcomes(
        self,
        images: Image | Iterable[Image],
        tasks: tuple[str, ...],
        batch_size: int,
        return_errors: bool,
    ) -> Iterator[Outcome]:
        batch: list[dict] = []
        waiting: list[tuple[str | None, np.ndarray]] = []  # of the batch

        def segment_batch() -> Iterator[Outcome]:
            samples = self._segment(batch, tasks)
            for image, sample in zip(waiting, samples, strict=True):
                yield Outcome(*image, sample)
            batch.clear()
            waiting.clear()

        for name, image in list_images(images):
            outcome: Outcome | None = None
            try:
                if isinstance(image, ImageError):
                    raise image
                loaded = self._load(image)
                pixels = loaded['img']
                if self.tile is None:
                    batch.append(self._prepare(loaded, name or image))
                    waiting.append((name, pixels))
                else:
                    sample = self._segment_tiles(loaded, tasks, batch_size)
                    outcome = Outcome(name, pixels, sample)
            except ImageError as error:
                outcome = Outcome(name, None, error)
            if batch and (outcome is not None or len(batch) == batch_size):
                yield from segment_batch()
            if outcome is not None:
                if isinstance(outcome.found, ImageError) and not return_errors:
                    raise outcome.found
                yield outcome
        if batch:
            yield from segment_batch()

    def _load(self, image: Image | Frame) -> dict:
        """Return an image after the first step of the pipeline."""
        if isinstance(image, str | PathLike):
            with image_errors(name_of(image)):
                return self._from_file(
                    dict(img_path=os.fsdecode(image), img_id=0)
                )
        pixels = pixels_of(image, self.channel_order)
        return self._from_array(dict(img=pixels, img_id=0))

    def _prepare(self, loaded: dict, image: Image | Frame) -> dict:
        """Return a loaded image as the model reads it."""
        height, width = loaded['img'].shape[:2]
        try:
            return self._prepare_loaded(loaded)
        except Exception as error:  # of any transform, on this image
            raise ImageError(
                f'Image {name_of(image)} of {width} x {height} pixels does '
                f'not pass the test pipeline ({type(error).__name__}: '
                f'{error}). If it is very thin, resizing leaves nothing of a '
                'side: pad it.'
            ) from error

    def _segment_tiles(
        self, loaded: dict, tasks: tuple[str, ...], batch_size: int
    ) -> DetDataSample:
        """Return the joined result of the tiles of an image."""
        image, path = loaded['img'], loaded['img_path']
        assert self.tile is not None and self.overlap is not None
        size = height, width = image.shape[:2]
        mosaic = SampleMosaic(
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
                        self._from_array(
                            dict(
                                img=image[tile.box.within(Box(0, 0, *size))],
                                img_id=0,
                            )
                        ),
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
