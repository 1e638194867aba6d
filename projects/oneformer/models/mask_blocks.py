"""Mask logits in the size of the result, a block of the result at a time.

Resizing is linear along each axis, so that a block needs no more than a few
rows and columns of the logits at stride 4: they are resized along x while
they have few rows, then along y. The smallest and the largest logit that a
block is made of bound those of the block, so that queries which cannot matter
there are skipped.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """Linear interpolation along an axis, an entry for each place."""

    low: Tensor  # int64, where in the source
    high: Tensor  # int64, its neighbour, or itself at the end
    share: Tensor  # float32, of the neighbour


class Span(NamedTuple):
    """A part of one axis of the result, and what it is made of."""

    result: slice
    source: slice
    steps: list[Step]


class Block(NamedTuple):
    """A rectangle of the result."""

    rows: Span
    columns: Span

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the result."""
        return self.rows.result, self.columns.result


class Workspace:
    """Memory that is used again and again.

    Of memory that is fresh each time the operating system clears every page,
    which takes longer than the arithmetic.

    Args:
        like (Tensor): Of the type and device wanted.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._parts: dict[str, Tensor] = {}

    def empty(self, name: str, shape: Sequence[int]) -> Tensor:
        """Return a tensor in the place of the last one of this name."""
        size = prod(shape)
        if name not in self._parts or len(self._parts[name]) < size:
            self._parts[name] = self._like.new_empty(size)
        return self._parts[name][:size].view(shape)


class MaskBlocks:
    """Mask logits in the size of the result; iterate over its blocks.

    They are resized to the network input, cropped to the image, then resized
    to the original image, both times as ``F.interpolate`` with
    ``mode='bilinear', align_corners=False``. A step to the same size is
    skipped. The blocks cover each pixel of the result once.

    Args:
        mask_preds (Tensor): Logits at stride 4, (M, H/4, W/4), float32.
        metainfo (dict): ``batch_input_shape``, ``img_shape`` and, to
            rescale, ``ori_shape``, each (height, width).
        rescale (bool): Whether to resize to ``ori_shape`` at the end.
        side (int): Height and width of a block.
    """

    def __init__(
        self,
        mask_preds: Tensor,
        metainfo: dict,
        rescale: bool = True,
        side: int = 128,
    ) -> None:
        self.mask_preds = mask_preds.detach()
        self._workspace = Workspace(self.mask_preds)
        axes = [
            (
                mask_preds.shape[1 + axis],
                metainfo['batch_input_shape'][axis],
                metainfo['img_shape'][axis],
                metainfo['ori_shape' if rescale else 'img_shape'][axis],
            )
            for axis in (0, 1)
        ]
        #: Height and width of the result.
        self.size = tuple(axis[-1] for axis in axes)
        self.rows, self.columns = (
            spans(*axis, side, mask_preds.device) for axis in axes
        )

    def __iter__(self) -> Iterator[Block]:
        for rows, columns in product(self.rows, self.columns):
            yield Block(rows, columns)

    def logits(self, block: Block, queries: Tensor | None = None) -> Tensor:
        """Return the logits of a block.

        Args:
            block (Block): One of these.
            queries (Tensor | None): Indices, (M',), or None for all.

        Returns:
            Tensor: (M', height, width) of the block, valid until the next
            call; it may be written to.
        """
        logits = self.mask_preds[:, block.rows.source, block.columns.source]
        if queries is not None:
            logits = logits.index_select(0, queries)
        # Interpolation copies whole rows: columns become rows first.
        logits = self._copy('columns', logits.movedim(2, 0))
        logits = self._interpolate(logits, 0, block.columns.steps)
        logits = self._copy('rows', logits.movedim(0, 2))
        return self._interpolate(logits, 1, block.rows.steps)

    def _copy(self, name: str, logits: Tensor) -> Tensor:
        return self._workspace.empty(name, logits.shape).copy_(logits)

    def _interpolate(
        self, logits: Tensor, axis: int, steps: Sequence[Step]
    ) -> Tensor:
        """Resize along the first or second of three axes."""
        for name, step in zip(('once', 'twice'), steps, strict=False):
            shape = list(logits.shape)
            shape[axis] = len(step.low)
            lower = self._workspace.empty(name, shape)
            upper = self._workspace.empty('neighbour', shape)
            torch.index_select(logits, axis, step.low, out=lower)
            torch.index_select(logits, axis, step.high, out=upper)
            share = step.share.view(-1, *[1] * (2 - axis))
            logits = lower.lerp_(upper, share)
        return logits

    def lower_bounds(self) -> Tensor:
        """Return a lower bound of the logits of each block, (M, blocks)."""
        return self._reduce(torch.amin)

    def upper_bounds(self) -> Tensor:
        """Return an upper bound of the logits of each block, (M, blocks)."""
        return self._reduce(torch.amax)

    def _reduce(self, function: Callable[[Tensor, int], Tensor]) -> Tensor:
        rows = torch.stack(
            [
                function(self.mask_preds[:, span.source], 1)
                for span in self.rows
            ],
            1,
        )
        return torch.stack(
            [function(rows[:, :, span.source], 2) for span in self.columns], 2
        ).flatten(1)

    def active_blocks(self, active: Tensor) -> list[tuple[Block, Tensor]]:
        """Return the blocks with active queries, and these queries' indices.

        The host waits for the device once, whatever their number.

        Args:
            active (Tensor): Whether a query is active in a block, bool,
                (M, blocks).
        """
        active = active.T.cpu()
        queries = active.nonzero()[:, 1].to(self.mask_preds.device)
        counts = active.sum(1).tolist()
        return [
            (block, own)
            for block, own in zip(self, queries.split(counts), strict=True)
            if len(own)
        ]


def spans(
    source: int,
    resized: int,
    cropped: int,
    result: int,
    side: int,
    device: torch.device,
) -> list[Span]:
    """Divide an axis of the result.

    Args:
        source (int): Length of the axis at stride 4.
        resized (int): Length after the first interpolation.
        cropped (int): Length without the padding.
        result (int): Length after the second interpolation.
        side (int): Length of a span; the last may be shorter.
        device (torch.device): Of the logits.
    """
    steps = [
        linear(old, new)
        for old, new in ((source, resized), (cropped, result))
        if old != new
    ]
    on_device = [Step(*(part.to(device) for part in step)) for step in steps]
    found = []
    for start in range(0, result, side):
        begin, end = start, min(start + side, result)
        own = []
        for step, on in zip(steps[::-1], on_device[::-1], strict=True):
            part = slice(begin, end)
            begin, end = int(step.low[begin]), int(step.high[end - 1]) + 1
            own.append(
                Step(
                    on.low[part] - begin, on.high[part] - begin, on.share[part]
                )
            )
        place = slice(start, min(start + side, result))
        found.append(Span(place, slice(begin, end), own[::-1]))
    return found


def linear(old: int, new: int) -> Step:
    """Return where each place of a new axis lies on an old one.

    Rounded as PyTorch's own: a place far from 0 would otherwise differ by
    more than the rounding of a logit.
    """
    scale = float(torch.tensor(old, dtype=torch.float32) / new)
    place = (torch.arange(new, dtype=torch.float64) + 0.5) * scale - 0.5
    place = place.float().clamp_(0, old - 1)
    low = place.long()
    return Step(low, (low + 1).clamp_(max=old - 1), place - low)


def mask_boxes(masks: Tensor) -> Tensor:
    """Return boxes around masks: left, top, right, bottom, the last two out.

    Args:
        masks (Tensor): Bool, (M, H, W).

    Returns:
        Tensor: float32, (M, 4); all 0 for an empty mask.
    """
    # As bytes: PyTorch's any() and nonzero() take many times longer.
    marked = masks.view(torch.uint8)
    left, right = _extent(marked.amax(1))
    top, bottom = _extent(marked.amax(2))
    return torch.stack([left, top, right, bottom], 1).float()


def _extent(marked: Tensor) -> tuple[Tensor, Tensor]:
    """First place that is not 0 and the one behind the last, each (M,)."""
    marked = marked.bool()  # (M, length)
    length = marked.shape[1]
    place = torch.arange(length, device=marked.device)
    first = place.where(marked, length).amin(1) % length
    return first, (place + 1).where(marked, 0).amax(1)
