"""Segmenting the input of the network in tiles of the size of its crops."""

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..sample_result import segment_scores
from ..tasks import TASKS
from ..tiling import (
    Box,
    Instance,
    InstanceMosaic,
    JoinedSegments,
    PanopticMosaic,
    PanopticSegment,
    SemanticMosaic,
    Tile,
    input_tiles,
    tile_grid,
)
from .fusion_head import panoptic_result, semantic_result
from .mask_blocks import mask_boxes


class Segmenter(Protocol):
    """What a model must have for its input to be tiled."""

    class_names: Sequence[str]

    def pixel_features(self, batch_inputs: Tensor):
        """Return what all tasks share of images, (B, 3, H, W)."""

    def segment(
        self,
        pixels,
        samples: SampleList,
        tokens: Sequence[str],
        results: Sequence[str] | None = None,
    ) -> None:
        """Write results into the samples."""


class TiledSegmentation:
    """Segments each image in tiles of the resized image, and joins them.

    A model that was trained on crops, with little data and few iterations,
    separates objects where the input shows as much as a crop did, and joins
    them where it shows several times as much (docs/results.md). The rules of
    joining are those of :mod:`projects.oneformer.tiling`.

    Args:
        size (int | tuple[int, int]): Height and width of a tile in pixels of
            the input, usually those of the training crops.
        overlap (int, optional): Pixels that neighbours share at least; by
            default a quarter of the shorter side.
        score_thr (float): Instances of a tile with a lower score are dropped,
            as comparing them with those of other tiles takes time.
        batch_size (int): Tiles that the model processes at a time.
        divisor (int): Heights and widths of inputs are multiples of it.

    Raises:
        ValueError: If the overlap is over half of a side, or ``batch_size``
            is below 1.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        overlap: int | None = None,
        score_thr: float = 0.05,
        batch_size: int = 8,
        divisor: int = 1,
    ) -> None:
        sides = [size] * 2 if isinstance(size, int) else list(size)
        if len(sides) != 2 or not all(isinstance(s, int) for s in sides):
            raise InputError(
                'Expected test_cfg.tile.size to be a number of pixels or '
                f'height and width, got {size!r}.'
            )
        if batch_size < 1:
            raise InputError(
                'Expected test_cfg.tile.batch_size of 1 or more, got '
                f'{batch_size}.'
            )
        self.size = (sides[0], sides[1])
        self.overlap = min(sides) // 4 if overlap is None else overlap
        tile_grid(1, 1, self.size, self.overlap)  # raises if they do not fit
        self.score_thr = score_thr
        self.batch_size = batch_size
        self.divisor = divisor

    def segment(
        self,
        model: Segmenter,
        image: Tensor,
        sample: DetDataSample,
        tokens: Sequence[str],
        results: Sequence[str] | None = None,
        rescale: bool = True,
    ) -> None:
        """Write the joined results of an image, on the CPU, into its sample.

        Args:
            model (Segmenter): Segments the tiles.
            image (Tensor): Normalised and padded, (3, H, W).
            sample (DetDataSample): With ``img_shape`` and ``ori_shape``.
            tokens (Sequence[str]): Tasks of the tokens to decode with.
            results (Sequence[str], optional): Tasks whose results to make
                from the queries of each token; by default that of the token.
            rescale (bool): Results in the size of the original image.

        Raises:
            ValueError: If the sample asks for semantic scores: tiles give
                labels alone.
        """
        if sample.get('semantic_scores', False):
            raise InputError(
                'Semantic scores, which test-time augmentation and tiles of '
                'the inferencer add up, are not made in tiles of the input: '
                'set model.test_cfg.tile=None.'
            )
        height, width = sample.ori_shape if rescale else sample.img_shape
        mosaic = SampleMosaic(
            height,
            width,
            len(model.class_names),
            [task for task in TASKS if task in (results or tokens)],
            self.score_thr,
        )
        tiles = input_tiles(
            sample.img_shape, (height, width), self.size, self.overlap
        )
        while part := list(itertools.islice(tiles, self.batch_size)):
            inputs = self.cut(image, [box for box, _ in part])
            samples = [
                DetDataSample(
                    metainfo=dict(
                        batch_input_shape=tuple(inputs.shape[-2:]),
                        img_shape=box.size,
                        ori_shape=place.box.size,
                        semantic_scores=True,
                    )
                )
                for box, place in part
            ]
            model.segment(
                model.pixel_features(inputs), samples, tokens, results
            )
            for (_, place), segmented in zip(part, samples, strict=True):
                mosaic.add(place, segmented)
        mosaic.write(sample)

    def cut(self, image: Tensor, boxes: Sequence[Box]) -> Tensor:
        """Return parts of one size of an image as a batch, (B, 3, h, w)."""
        whole = Box(0, 0, *image.shape[-2:])
        parts = torch.stack(
            [
                image[:, rows, columns]
                for rows, columns in (box.within(whole) for box in boxes)
            ]
        )
        height, width = parts.shape[-2:]
        # Zeros are the mean colour, with which the preprocessor pads as well.
        return F.pad(
            parts, (0, -width % self.divisor, 0, -height % self.divisor)
        )


def make_tiled(
    options: dict | None, data_preprocessor: nn.Module
) -> TiledSegmentation | None:
    """Build what ``test_cfg.tile`` of a model describes.

    Args:
        options (dict, optional): Arguments of :class:`TiledSegmentation`.
        data_preprocessor (nn.Module): Of the model; tiles are padded to
            multiples of the same number as its batches.
    """
    if options is None:
        return None
    divisor = getattr(data_preprocessor, 'pad_size_divisor', 1)
    return TiledSegmentation(**options, divisor=divisor)


class SampleMosaic:
    """The data sample of an image, made from those of its tiles.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        num_classes (int): Number of classes, K.
        tasks (Sequence[str]): Which results.
        score_thr (float): Instances of a tile with a lower score are dropped.
    """

    def __init__(
        self,
        height: int,
        width: int,
        num_classes: int,
        tasks: Sequence[str],
        score_thr: float,
    ) -> None:
        self.num_classes = num_classes
        self.semantic = self.panoptic = self.instance = None
        if 'semantic' in tasks:
            self.semantic = SemanticMosaic(height, width, num_classes)
        if 'panoptic' in tasks:
            self.panoptic = PanopticMosaic(height, width)
        if 'instance' in tasks:
            self.instance = InstanceMosaic(height, width, score_thr)

    def add(self, tile: Tile, sample: DetDataSample) -> None:
        """Add the results of a tile.

        Args:
            tile (Tile): Its place; tiles come row by row.
            sample (DetDataSample): With the results of all tasks, the
                semantic one with its ``scores``.
        """
        if self.semantic:
            scores = sample.pred_sem_seg.scores.cpu().numpy()
            self.semantic.add(tile, scores)
        if self.panoptic:
            result = sample.pred_panoptic_seg
            codes = result.sem_seg[0].cpu().numpy()
            self.panoptic.add(
                tile, codes, segments_of(codes, result, self.num_classes)
            )
        if self.instance:
            found = sample.pred_instances
            kept = found[found.scores >= self.instance.score_thr].cpu()
            self.instance.add(
                tile,
                map(
                    Instance,
                    kept.labels.tolist(),
                    kept.scores.tolist(),
                    kept.masks.numpy(),
                ),
            )

    def write(self, sample: DetDataSample) -> None:
        """Write the joined results, on the CPU, into a sample."""
        if self.semantic:
            labels = torch.from_numpy(self.semantic.result())
            sample.pred_sem_seg = semantic_result(labels, self.num_classes)
        if self.panoptic:
            sample.pred_panoptic_seg = coded(
                self.panoptic.result(), self.num_classes
            )
        if self.instance:
            sample.pred_instances = instance_data(
                list(self.instance.result()), self.instance.size
            )


def segments_of(
    codes: np.ndarray, result: PixelData, num_classes: int
) -> dict[int, PanopticSegment]:
    """Return the segments of a panoptic result by code.

    Args:
        codes (np.ndarray): Of the result, (H, W).
        result (PixelData): Of the fusion head.
        num_classes (int): Number of classes, the code of void.
    """
    scores = segment_scores(result)
    return {
        code: PanopticSegment(
            code % INSTANCE_OFFSET,
            code // INSTANCE_OFFSET,
            scores.get(code, 0.0),
        )
        for code in np.unique(codes).tolist()
        if code != num_classes
    }


def coded(joined: JoinedSegments, num_classes: int) -> PixelData:
    """Return a joined result as the fusion head codes it, int32."""
    codes = [
        segment.label + INSTANCE_OFFSET * segment.number
        for segment in joined.segments
    ]
    code_of = np.array([num_classes, *codes], np.int32)
    return panoptic_result(
        torch.from_numpy(code_of[joined.ids]),
        num_classes,
        torch.tensor(codes, dtype=torch.int32),
        torch.tensor(
            [segment.score for segment in joined.segments],
            dtype=torch.float32,
        ),
    )


def instance_data(
    instances: Sequence[Instance], size: tuple[int, int]
) -> InstanceData:
    """Return joined instances as the fusion head does.

    Args:
        instances (Sequence[Instance]): With masks of the image.
        size (tuple[int, int]): Height and width of the image.
    """
    masks = torch.zeros(len(instances), *size, dtype=torch.bool)
    for mask, instance in zip(masks, instances, strict=True):
        mask.copy_(torch.from_numpy(instance.mask))
    return InstanceData(
        bboxes=mask_boxes(masks),
        labels=torch.tensor(
            [instance.label for instance in instances], dtype=torch.int64
        ),
        scores=torch.tensor(
            [instance.score for instance in instances], dtype=torch.float32
        ),
        masks=masks,
    )
