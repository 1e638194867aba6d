"""Read annotations that label a part of the picture, as segment ids."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get
from pycocotools import mask as coco_mask

from .load_segments import (
    MAX_ID,
    LoadPanopticSegments,
    renumber_segments,
)


@TRANSFORMS.register_module()
class LoadSegments(BaseTransform):
    """Read the segments of a picture, whatever its kind of annotation.

    Chooses :class:`LoadPanopticSegments`, :class:`LoadInstanceSegments` or
    :class:`LoadSemanticSegments`, so that one pipeline serves all datasets.

    The ids are numbered from 1, so that a map of one channel holds them. Only
    where there are more than 254 they stay coded in three.

    Required Keys: ``annotation`` and those of the transform it chooses.

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W), or (H, W, 3) with more than
    254 ids), ``seg_fields``.

    Modified Keys: ``segments_info`` (each with ``ids``, its numbers in
    ``gt_seg_map``; with more than 254 ids as the chosen transform has it).

    Args:
        backend_args (dict, optional): File backend of mmengine.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.loaders = dict(
            panoptic=LoadPanopticSegments(backend_args),
            instance=LoadInstanceSegments(),
            semantic=LoadSemanticSegments(backend_args),
        )
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        results = self.loaders[results['annotation']].transform(results)
        return renumber_segments(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadInstanceSegments(BaseTransform):
    """Draw polygons and run lengths into one map of ids.

    Where masks overlap, the overlap has an id of its own that belongs to all
    of them: no pixel of a mask is lost, and every transform that handles a
    map of ids handles overlapping masks.

    Required Keys: ``img_path``, ``height``, ``width``, ``segments_info``,
    ``ori_shape`` (optional).

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), ids as red + 256 green +
    65536 blue), ``seg_fields``.

    Modified Keys: ``segments_info`` (each with ``ids``, in place of
    ``segmentation``).

    Raises:
        ValueError: If a mask cannot be drawn or has another size, or the
            picture has another size than the annotation says.
    """

    def transform(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        size = (results['height'], results['width'])
        if tuple(results.get('ori_shape', size)) != size:
            raise ValueError(
                f'{results["img_path"]} is {tuple(results["ori_shape"])} '
                f'(height, width), turned as its EXIF tag says, but {size} in '
                'the annotation file: mend the annotation, or store the '
                'picture unturned.'
            )
        segments = results['segments_info']
        masks = [
            draw_mask(segment['segmentation'], size, results['img_path'])
            for segment in segments
        ]
        numbers, members = overlay(masks, size)
        results['gt_seg_map'] = encode_ids(numbers)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        results['segments_info'] = [
            {k: v for k, v in segment.items() if k != 'segmentation'}
            | dict(ids=[n for n, who in members.items() if i in who])
            for i, segment in enumerate(segments)
        ]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class LoadSemanticSegments(BaseTransform):
    """Read a PNG of class labels; each class present is a segment.

    Required Keys: ``seg_map_path``, ``img_path``, ``height``, ``width``,
    ``label_of_value``, ``ignore_index``, ``things``, ``ori_shape``
    (optional).

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), ids), ``seg_fields``.

    Modified Keys: ``segments_info``.

    Args:
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If the PNG is damaged, has not the size of the picture, is
            a picture of colours or has a value that stands for no class.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args
        self.reader = LoadPanopticSegments(backend_args)

    def transform(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        path = results['seg_map_path']
        values = self.read_png(path)
        self.reader.check_size(values, results)
        label_of_value = results['label_of_value']
        present = np.flatnonzero(np.bincount(values.ravel()))
        ignored = results['ignore_index']
        unknown = [
            value
            for value in present.tolist()
            if value >= len(label_of_value) and value != ignored
        ]
        if unknown:
            raise ValueError(
                f'{path} has the values {unknown[:5]}: expected those of the '
                f'classes, 0 to {len(label_of_value) - 1}, and {ignored} '
                'where nothing is labelled. Check '
                'png_classes, ignore_index and reduce_zero_label of the '
                'dataset.'
            )
        ids = np.zeros(int(values.max()) + 1, np.int32)
        segments = []
        for value in present.tolist():
            label = label_of_value[value] if value != ignored else None
            if label is not None:
                ids[value] = value + 1
                segments.append(
                    dict(
                        id=value + 1,
                        category=label,
                        is_thing=label in results['things'],
                        iscrowd=False,
                    )
                )
        results['gt_seg_map'] = encode_ids(ids[values])
        results.setdefault('seg_fields', []).append('gt_seg_map')
        results['segments_info'] = segments
        return results

    def read_png(self, path: str) -> np.ndarray:
        """Return the values, (H, W); those of a palette are its indices."""
        try:
            content = get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Label map {path} does not exist: check data_root and '
                'data_prefix["seg"] of the dataset.'
            ) from error
        try:
            png = content and mmcv.imfrombytes(
                content, flag='unchanged', backend='pillow'
            )
        except (OSError, SyntaxError) as error:  # Pillow raises either
            raise ValueError(
                f'{path} cannot be read as a PNG: {error}. Restore the file.'
            ) from error
        if png is None or len(png) == 0:
            raise ValueError(f'{path} is empty: restore the file.')
        if png.ndim != 2:
            raise ValueError(
                f'{path} has shape {png.shape}: expected one value per pixel, '
                'the label of its class, not colours.'
            )
        return png.astype(np.int32)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def draw_mask(
    segmentation: list | dict, size: tuple[int, int], picture: str
) -> np.ndarray:
    """Return the mask of polygons or run lengths, bool (H, W).

    Args:
        segmentation (list | dict): As in a COCO file.
        size (tuple[int, int]): Height and width of the picture.
        picture (str): What messages name.

    Raises:
        ValueError: If it cannot be drawn, or has another size.
    """
    try:
        if isinstance(segmentation, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
        elif isinstance(segmentation['counts'], list):
            rle = coco_mask.frPyObjects(segmentation, *segmentation['size'])
        else:
            rle = segmentation
        mask = coco_mask.decode(rle)
    except Exception as error:  # pycocotools raises no narrower one
        raise ValueError(
            f'{picture} has an annotation whose segmentation cannot be drawn '
            f'({error}): expected polygons [[x1, y1, x2, y2, x3, y3, ...]] or '
            'run lengths dict(size, counts).'
        ) from error
    if mask.shape != tuple(size):
        raise ValueError(
            f'{picture} is {tuple(size)} (height, width), but one of its '
            f'masks is {mask.shape}: mend the annotation.'
        )
    return mask.astype(bool)


def overlay(
    masks: list[np.ndarray], size: tuple[int, int]
) -> tuple[np.ndarray, dict[int, frozenset[int]]]:
    """Number the regions that lie in the same masks.

    Args:
        masks (list[np.ndarray]): bool (H, W).
        size (tuple[int, int]): Height and width.

    Returns:
        tuple[np.ndarray, dict[int, frozenset[int]]]: Number of each pixel's
        region, 0 outside of all masks, int32 (H, W), and which masks each
        region belongs to.
    """
    numbers = np.zeros(size, np.int32)
    members: dict[int, frozenset[int]] = {0: frozenset()}
    for i, mask in enumerate(masks):
        inside = numbers[mask]
        for below in np.unique(inside).tolist():
            number = len(members)
            members[number] = members[below] | {i}
            inside[inside == below] = -number
        numbers[mask] = -inside
    assert len(members) <= MAX_ID
    present = set(np.unique(numbers).tolist())
    return numbers, {
        number: who
        for number, who in members.items()
        if number and number in present
    }


def encode_ids(ids: np.ndarray) -> np.ndarray:
    """Return RGB codes, uint8 (H, W, 3), of ids, (H, W)."""
    return np.stack(
        [(ids >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], -1
    )
