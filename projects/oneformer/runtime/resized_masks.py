"""Mask logits in the size of the result, a block of the result at a time.

Resizing, cutting off the padding and resizing again are linear along each
axis, so one matrix for each axis does all three.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

Block = tuple[slice, slice]


class Sizes(NamedTuple):
    """Heights and widths of an image on its way.

    Attributes:
        padded (tuple[int, int]): As the network reads it.
        resized (tuple[int, int]): Without the padding.
        original (tuple[int, int]): Before it was resized.
    """

    padded: tuple[int, int]
    resized: tuple[int, int]
    original: tuple[int, int]


class ResizedMasks:
    """Mask logits resized as ``OneFormerFusionHead`` does it.

    Args:
        logits (np.ndarray): At stride 4, float32 (Q, h, w).
        sizes (Sizes): Of the image.
        side (int): Height and width of a block.
    """

    def __init__(
        self, logits: np.ndarray, sizes: Sizes, side: int = 64
    ) -> None:
        self._logits = logits
        #: Height and width of the result.
        self.size = sizes.original
        self._side = side
        self._rows, self._columns = (
            resize_matrix(resized, original)
            @ resize_matrix(source, padded)[:resized]
            for source, padded, resized, original in zip(
                logits.shape[1:], *sizes, strict=True
            )
        )  # (H, h) and (W, w)

    def blocks(self) -> Iterator[Block]:
        """Yield rows and columns; together they cover the result."""
        yield from product(
            *(
                [
                    slice(start, min(start + self._side, length))
                    for start in range(0, length, self._side)
                ]
                for length in self.size
            )
        )

    def of(
        self, block: Block, queries: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the logits of a block, float32 (Q', height, width).

        Args:
            block (Block): Rows and columns.
            queries (np.ndarray | None): Indices, (Q',), or None for all.
        """
        rows, y = _support(self._rows[block[0]])
        columns, x = _support(self._columns[block[1]])
        logits = self._logits[:, y, x]
        if queries is not None:
            logits = logits[queries]
        return rows @ (logits @ columns.T)


def _support(matrix: np.ndarray) -> tuple[np.ndarray, slice]:
    """Return the columns that hold values, and which they are."""
    used = np.flatnonzero(matrix.any(0))
    where = slice(used[0], used[-1] + 1)
    return matrix[:, where], where


def resize_matrix(old: int, new: int) -> np.ndarray:
    """Return linear interpolation along an axis, float32 (new, old).

    It is that of PyTorch with ``align_corners=False``, rounded alike.
    """
    scale = float(np.float32(old) / np.float32(new))
    place = (np.arange(new) + 0.5) * scale - 0.5
    place = place.astype(np.float32).clip(0, old - 1)
    low = place.astype(np.int64)
    share = place - low
    matrix = np.zeros((new, old), np.float32)
    each = np.arange(new)
    matrix[each, low] = 1 - share
    matrix[each, np.minimum(low + 1, old - 1)] += share
    return matrix
