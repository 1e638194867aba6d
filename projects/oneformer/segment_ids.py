"""Ids of segments: their code in the channels of an image, and their places.

A panoptic PNG stores the id of a pixel's segment as red + 256 green + 65536
blue; 0 is void. This module imports NumPy and OpenCV alone, so that the tools
of ``tools/`` read ids by it without loading the package.
"""

import cv2
import numpy as np

MAX_ID = 256**3 - 1


def encode_ids(ids: np.ndarray) -> np.ndarray:
    """Return RGB codes, uint8 (H, W, 3), of ids, (H, W)."""
    return np.stack(
        [(ids >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], -1
    )


def decode_ids(coded: np.ndarray) -> np.ndarray:
    """Return ids, int32 (H, W), of codes.

    Args:
        coded (np.ndarray): np.uint8, RGB codes (H, W, 3), or ids (H, W).
    """
    if coded.ndim == 2:
        return coded.astype(np.int32)
    # With a fourth channel a pixel is a number of 32 bits.
    padded = cv2.cvtColor(coded, cv2.COLOR_RGB2RGBA)
    return padded.view('<i4')[..., 0].astype(np.int32, copy=False) & MAX_ID


def number_ids(coded: np.ndarray, ids: list[int]) -> np.ndarray:
    """Return the place in ``ids`` of each pixel, counted from 1.

    Args:
        coded (np.ndarray): Ids as :func:`decode_ids` reads them.
        ids (list[int]): Ids to look up, each once.

    Returns:
        np.ndarray: Places, 0 for ids that are not listed, (H, W), of the
        smallest unsigned type that holds them.
    """
    found = decode_ids(coded)
    starts = run_starts(found)
    # Neighbours are mostly equal, so few pixels have to be looked up.
    numbers = _places(found.ravel()[starts], ids)
    lengths = np.diff(starts, append=found.size)
    return np.repeat(numbers, lengths).reshape(found.shape)


def run_starts(numbers: np.ndarray) -> np.ndarray:
    """Return where pixels, row by row, differ from the one before."""
    flat = numbers.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.append(0, changes + 1) if flat.size else changes


def _places(found: np.ndarray, ids: list[int]) -> np.ndarray:
    small = np.min_scalar_type(len(ids))
    if not ids:
        return np.zeros(len(found), small)
    order = np.argsort(ids)
    known = np.array(ids, found.dtype)[order]
    index = np.searchsorted(known, found).clip(max=len(ids) - 1)
    return np.where(known[index] == found, order[index] + 1, 0).astype(small)


def renumber_segments(results: dict) -> dict:
    """Number the ids of a sample from 1, so that one channel holds them.

    With more than 254 ids the sample stays as it is: 255 remains free for
    transforms that fill with it what has no segment.

    Args:
        results (dict): ``gt_seg_map`` (ids as :func:`decode_ids` reads them)
            becomes np.uint8 (H, W), 0 outside of all segments, and each
            segment of ``segments_info`` gets its numbers as ``ids``.
    """
    segments = results['segments_info']
    ids = sorted({number for own in segments for number in ids_of(own)})
    if len(ids) < 255:
        places = {number: i for i, number in enumerate(ids, 1)}
        results['gt_seg_map'] = number_ids(results['gt_seg_map'], ids)
        results['segments_info'] = [
            dict(own, ids=[places[number] for number in ids_of(own)])
            for own in segments
        ]
    return results


def ids_of(segment: dict) -> list[int]:
    """Return the ids of a segment: several where masks overlap."""
    return segment['ids'] if 'ids' in segment else [segment['id']]
