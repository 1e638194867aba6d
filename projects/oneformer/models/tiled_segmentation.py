"""Segmenting the input of the network in tiles of the size of its crops."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..tasks import TASKS
from .tiling import Box, Mosaic, Tile, tile_grid


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


class InputTile(NamedTuple):
    """A part of the input, and its place in the result."""

    box: Box
    place: Tile


class TiledSegmentation:
    """Segments each image in tiles of the resized image, and joins them.

    A model that was trained on crops, with little data and few iterations,
    separates objects where the input shows as much as a crop did, and joins
    them where it shows several times as much (docs/results.md). The rules of
    joining are those of :mod:`projects.oneformer.models.tiling`.

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

    def tiles(
        self, shape: tuple[int, int], result_shape: tuple[int, int]
    ) -> Iterator[InputTile]:
        """Yield the tiles of an image, row by row.

        Args:
            shape (tuple[int, int]): Height and width in the input, without
                padding.
            result_shape (tuple[int, int]): Of the result.
        """
        scale = (result_shape[0] / shape[0], result_shape[1] / shape[1])
        for box, core in tile_grid(*shape, self.size, self.overlap):
            yield InputTile(box, Tile(box.scaled(*scale), core.scaled(*scale)))

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
        shape = sample.ori_shape if rescale else sample.img_shape
        mosaic = Mosaic(
            *shape,
            len(model.class_names),
            [task for task in TASKS if task in (results or tokens)],
            self.score_thr,
        )
        tiles = self.tiles(sample.img_shape, shape)
        while part := list(itertools.islice(tiles, self.batch_size)):
            inputs = self.cut(image, [tile.box for tile in part])
            samples = [
                DetDataSample(
                    metainfo=dict(
                        batch_input_shape=tuple(inputs.shape[-2:]),
                        img_shape=tile.box.size,
                        ori_shape=tile.place.box.size,
                        semantic_scores=True,
                    )
                )
                for tile in part
            ]
            model.segment(
                model.pixel_features(inputs), samples, tokens, results
            )
            for tile, segmented in zip(part, samples, strict=True):
                mosaic.add(tile.place, segmented)
        mosaic.write(sample)

    def cut(self, image: Tensor, boxes: Sequence[Box]) -> Tensor:
        """Return parts of one size of an image as a batch, (B, 3, h, w)."""
        whole = Box(0, 0, *image.shape[-2:])
        parts = torch.stack(
            [image[(slice(None), *box.within(whole))] for box in boxes]
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
