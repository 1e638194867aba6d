"""Read the panoptic PNG of a picture."""

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get

MAX_ID = 256**3 - 1


@TRANSFORMS.register_module()
class LoadPanopticSegments(BaseTransform):
    """Read the panoptic PNG as it is, with ids in its three channels.

    The ids stay coded as red + 256 green + 65536 blue until
    :class:`TaskTargets`: so every transform that handles ``gt_seg_map``
    (flip, resize with nearest neighbour, crop, pad) handles them, too.

    A PNG with a palette is read by its colours.

    Required Keys: ``seg_map_path``, ``img_path``, ``height``, ``width``,
    ``segments_info``, ``ori_shape`` (optional).

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), RGB), ``seg_fields``.

    Args:
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If the picture has no annotation, or the PNG is damaged,
            is not RGB with 8 bits, has not the size of the picture or shows
            none of its segments.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        path = results['seg_map_path']
        if path is None:
            raise ValueError(
                f'Picture {results["img_path"]} has no panoptic annotation: '
                'leave LoadPanopticSegments out of this pipeline, or annotate '
                'the picture.'
            )
        png = self.read_png(path)
        self.check_size(png, results)
        coded = cv2.cvtColor(png, cv2.COLOR_BGR2RGB)
        self.check_ids(coded, results)
        results['gt_seg_map'] = coded
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def read_png(self, path: str) -> np.ndarray:
        """Return the PNG as it is, np.uint8 (H, W, 3), BGR."""
        try:
            content = get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Panoptic PNG {path} does not exist: check data_root and '
                'data_prefix["seg"] of the dataset, and "file_name" in the '
                'annotation.'
            ) from error
        # OpenCV refuses to look at an empty file, and returns None for
        # another one that it cannot read.
        png = content and mmcv.imfrombytes(
            content, flag='unchanged', backend='cv2'
        )
        if png is None or len(png) == 0:
            raise ValueError(
                f'{path} cannot be read as a PNG: the file is damaged or of '
                'another kind, restore it.'
            )
        if png.ndim != 3 or png.shape[-1] != 3 or png.dtype != np.uint8:
            raise ValueError(
                f'{path} has shape {png.shape} and type {png.dtype}: expected '
                'an RGB picture with 8 bits per channel, where red + 256 '
                'green + 65536 blue is the segment id.'
            )
        return png

    def check_size(self, png: np.ndarray, results: dict) -> None:
        """Compare with the annotation and, once it is read, the picture."""
        path, size = results['seg_map_path'], png.shape[:2]
        expected = (results['height'], results['width'])
        if size != expected:
            raise ValueError(
                f'{path} is {size}, but its picture is {expected} '
                '(height, width) in the annotation file.'
            )
        picture = tuple(results.get('ori_shape', size))
        if size != picture:
            raise ValueError(
                f'{path} and its annotation are {size} (height, width), but '
                f'{results["img_path"]} is {picture}, turned as its EXIF tag '
                'says: mend the annotation, or store the picture unturned.'
            )

    def check_ids(self, coded: np.ndarray, results: dict) -> None:
        """Refuse a PNG that stores something else than segment ids."""
        expected = [segment['id'] for segment in results['segments_info']]
        # Some rows mostly show one of them.
        for part in (coded[::16], coded):
            ids = decode_ids(part)
            if not expected or any((ids == n).any() for n in expected):
                return
        found = np.unique(ids)[:5].tolist()
        raise ValueError(
            f'{results["seg_map_path"]} shows none of its segments: '
            f'expected the ids {expected[:5]} of the annotation (red + '
            f'256 green + 65536 blue), found {found}.'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


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


def number_segments(coded: np.ndarray, segments: list[dict]) -> np.ndarray:
    """Return which segment each pixel belongs to.

    Args:
        coded (np.ndarray): Ids as :func:`decode_ids` reads them.
        segments (list[dict]): Segments, by their ``id``.

    Returns:
        np.ndarray: Place in ``segments``, from 1, and 0 for other pixels,
        (H, W), of the smallest unsigned type that holds them.
    """
    return number_ids(coded, [segment['id'] for segment in segments])


def number_ids(coded: np.ndarray, ids: list[int]) -> np.ndarray:
    """Return the place in ``ids``, from 1, of each pixel, else 0, (H, W)."""
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
