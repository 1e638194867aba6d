"""Masks and label maps as COCO run lengths.

Run lengths are counted down the columns. The places where runs begin and end
are found along the rows, in the order in which images lie in memory, and
sorted afterwards: that spares a transposed copy of every mask.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .optional import import_optional

# Looked at in one go on a GPU, which bounds the memory for it.
GPU_PIXELS = 2**25


def coco_mask() -> ModuleType:
    """Return hotcoco's functions of run lengths.

    Raises:
        ImportError: If hotcoco is missing.
    """
    return import_optional('hotcoco.mask', 'Run lengths of masks')


def encode_masks(masks: Tensor) -> list[dict]:
    """Return the COCO RLE of each mask.

    Masks on a GPU are searched there: only the borders of their runs are
    copied.

    Args:
        masks (Tensor): Booleans, (M, H, W).

    Returns:
        list[dict]: ``size``, [H, W], and ``counts``, a compressed str.
    """
    if not len(masks):
        return []
    _, height, width = masks.shape
    step = max(1, GPU_PIXELS // (height * width)) if masks.is_cuda else 1
    rles = []
    for part in masks.split(step):
        found = _find(_edges(part.bool()))
        owner, place = np.divmod(found, (height + 1) * width)
        row, column = np.divmod(place, width)
        limits = np.searchsorted(owner, range(1, len(part)))
        for borders in np.split(column * height + row, limits):
            rles.append(_pack(np.sort(borders), height, width))
    return rles


def encode_labels(labels: np.ndarray, void: int) -> dict[int, dict]:
    """Return the COCO RLE of each label of a map, in rising order.

    Args:
        labels (np.ndarray): One whole number per pixel, (H, W).
        void (int): The label to leave out.

    Returns:
        dict[int, dict]: Label to RLE, see :func:`encode_masks`.
    """
    height, width = labels.shape
    starts = np.empty((height, width), bool)
    starts[:1] = True
    np.not_equal(labels[1:], labels[:-1], out=starts[1:])
    row, column = np.divmod(np.flatnonzero(starts), width)
    begin = column * height + row
    order = np.argsort(begin)
    begin, values = begin[order], labels[row, column][order]
    end = np.append(begin[1:], height * width)
    # All runs of a label together, still from left to right.
    order = np.argsort(values, kind='stable')
    borders = np.stack([begin[order], end[order]], 1)  # (runs, 2)
    found, first = np.unique(values[order], return_index=True)
    return {
        int(label): _pack(own.ravel(), height, width)
        for label, own in zip(found, np.split(borders, first[1:]), strict=True)
        if label != void
    }


def join_rles(rles: list[dict]) -> dict:
    """Return the union of COCO RLEs of one size, one or more."""
    if len(rles) == 1:
        return rles[0]
    joined = coco_mask().merge(rles)
    counts = joined['counts']
    if isinstance(counts, bytes):
        counts = counts.decode()
    return dict(size=list(joined['size']), counts=counts)


def rle_area(rle: dict) -> int:
    """Return the number of pixels in a COCO RLE."""
    return int(coco_mask().area(rle))


def rle_box(rle: dict) -> list[float]:
    """Return left, top, width and height of a COCO RLE, 0 if it is empty."""
    return coco_mask().to_bbox(rle).tolist()


def _edges(masks: Tensor) -> Tensor:
    """Return where a mask begins or ends in its column, (M, H + 1, W)."""
    number, height, width = masks.shape
    edges = masks.new_empty((number, height + 1, width))
    edges[:, 0], edges[:, -1] = masks[:, 0], masks[:, -1]
    torch.ne(masks[:, 1:], masks[:, :-1], out=edges[:, 1:-1])
    return edges


def _find(edges: Tensor) -> np.ndarray:
    """Return the flat indices of what is True."""
    if edges.is_cuda:
        return edges.flatten().nonzero()[:, 0].cpu().numpy()
    return np.flatnonzero(edges.numpy())  # far faster than PyTorch's


def _pack(borders: np.ndarray, height: int, width: int) -> dict:
    """Compress a mask that is given by the sorted borders of its runs.

    Args:
        borders (np.ndarray): Where a run begins and the pixel behind it,
            counted down the columns. A run that goes on in the next column
            may end and begin there.
        height (int): Height of the mask.
        width (int): Width of the mask.
    """
    twice = borders[1:] == borders[:-1]
    single = np.ones(len(borders), bool)
    single[1:] &= ~twice
    single[:-1] &= ~twice
    borders = borders[single]
    if len(borders) and borders[-1] == height * width:
        borders = borders[:-1]  # the last run ends with the image
    counts = np.diff(borders, prepend=0, append=height * width)
    rle = dict(size=[height, width], counts=counts.tolist())
    return dict(rle, counts=coco_mask().rle_to_string(rle))
