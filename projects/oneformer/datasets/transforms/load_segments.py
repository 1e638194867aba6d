"""Read the segments of an image, whatever its kind of annotation."""

import cv2
import mmcv
import numpy as np
from mmdet.registry import TRANSFORMS
from PIL import Image

from ...segment_ids import MAX_ID, decode_ids, encode_ids, renumber_segments
from ..annotation_files import read_file, read_label_map, unreadable
from ..annotation_png import (
    STRAY,
    decode_png,
    has_stray_values,
    png_header,
)
from ..coco_masks import draw_mask
from .annotation_transform import AnnotationTransform

ORIENTATION = 0x0112  # tag of EXIF
TURNS = (5, 6, 7, 8)  # orientations that swap height and width


@TRANSFORMS.register_module()
class LoadSegments(AnnotationTransform):
    """Read the segments of an image, whatever its kind of annotation.

    Chooses :class:`LoadPanopticSegments`, :class:`LoadInstanceSegments` or
    :class:`LoadSemanticSegments`, so that one pipeline serves all datasets.

    The ids are numbered from 1 and stored in one channel. Only if there are
    more than 254, they stay coded in three.

    Required Keys: ``annotation`` and those of the transform it chooses.

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W), or (H, W, 3) with more than
    254 ids), ``seg_fields``.

    Modified Keys: ``segments_info`` (each with ``ids``, its numbers in
    ``gt_seg_map``; with more than 254 ids as the chosen transform has it).

    Args:
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        ValueError: If the sample comes from a dataset of another kind.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.loaders: dict[str, AnnotationTransform] = dict(
            panoptic=LoadPanopticSegments(backend_args),
            instance=LoadInstanceSegments(),
            semantic=LoadSemanticSegments(backend_args),
        )
        self.backend_args = backend_args

    def transform_annotation(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        kind = results.get('annotation')
        if kind not in self.loaders:
            raise ValueError(
                f'Image {results.get("img_path")} has no annotation that '
                f'LoadSegments reads: expected one of {list(self.loaders)}, '
                f'got {kind!r}. Use OneFormerPanopticDataset, '
                'OneFormerInstanceDataset or OneFormerSemanticDataset, or '
                'leave LoadSegments out of the pipeline.'
            )
        return renumber_segments(self.loaders[kind].transform(results))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadPanopticSegments(AnnotationTransform):
    """Read the panoptic PNG as it is, with ids in its three channels.

    The ids stay coded as red + 256 green + 65536 blue until
    :class:`TaskTargets`, so every transform that handles ``gt_seg_map`` (flip,
    resize with nearest neighbour, crop, pad) handles them, too.

    A PNG with a palette is read by its colours.

    Required Keys: ``seg_map_path``, ``img_path``, ``height``, ``width``,
    ``segments_info``, ``ori_shape`` (optional).

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), RGB), ``seg_fields``.

    Args:
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If the image has no annotation, or the PNG is damaged, is
            not RGB with 8 bits, differs in size from the image or shows none
            of its segments.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform_annotation(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        path = results['seg_map_path']
        if path is None:
            raise ValueError(
                f'Image {results["img_path"]} has no panoptic annotation: '
                'leave LoadPanopticSegments out of this pipeline, or annotate '
                'the image.'
            )
        png = self.read_png(path)
        check_png_size(png, results)
        coded = cv2.cvtColor(png, cv2.COLOR_BGR2RGB)
        self.check_ids(coded, results)
        results['gt_seg_map'] = coded
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def read_png(self, path: str) -> np.ndarray:
        """Return the PNG as it is, np.uint8 (H, W, 3), BGR."""
        content = read_file(
            path,
            'Panoptic PNG',
            'data_root and data_prefix["seg"] of the dataset, and "file_name" '
            'in the annotation',
            self.backend_args,
        )
        try:
            kind, bits = png_header(content)
            if kind == 'palette' or (kind, bits) == ('RGB', 8):
                png = mmcv.imfrombytes(
                    content, flag='unchanged', backend='cv2'
                )
        except (ValueError, cv2.error) as error:
            raise unreadable(path, error) from error
        if kind != 'palette' and (kind, bits) != ('RGB', 8):
            raise ValueError(
                f'{path} is {kind} with {bits} bits: expected an RGB image '
                'with 8 bits per channel, where red + 256 green + 65536 blue '
                'is the segment id.'
            )
        if png is None:
            # OpenCV is faster, but refuses some PNGs whose pixels are
            # whole. The validator reads by this reader.
            try:
                png = decode_png(content).pixels[..., 2::-1]
            except ValueError as error:
                raise unreadable(path, error) from error
        # Of a transparent colour OpenCV makes a fourth channel.
        return np.ascontiguousarray(png[..., :3])

    def check_ids(self, coded: np.ndarray, results: dict) -> None:
        """Refuse a PNG that does not store segment ids."""
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


@TRANSFORMS.register_module()
class LoadInstanceSegments(AnnotationTransform):
    """Draw polygons and run lengths into one map of ids.

    An overlap of masks gets a separate id that belongs to all of them: no
    pixel of a mask is lost, and every transform that handles a map of ids
    handles overlapping masks.

    Required Keys: ``img_path``, ``height``, ``width``, ``segments_info``,
    ``ori_shape`` (optional).

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W, 3), ids as red + 256 green +
    65536 blue), ``seg_fields``.

    Modified Keys: ``segments_info`` (each with ``ids``, in place of
    ``segmentation``).

    Raises:
        ValueError: If a mask cannot be drawn or has another size, or the
            image has another size than the annotation says.
    """

    def transform_annotation(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        size = (results['height'], results['width'])
        check_image_size(size, results)
        segments = results['segments_info']
        masks = [
            self.draw(segment['segmentation'], size, results['img_path'])
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

    @staticmethod
    def draw(
        segmentation: list | dict, size: tuple[int, int], path: str
    ) -> np.ndarray:
        """Return a mask, bool (H, W), of the image at ``path``."""
        try:
            return draw_mask(segmentation, size)
        except ValueError as error:
            raise ValueError(
                f'{path} has an annotation that cannot be drawn: {error}. '
                'Mend or remove it in the annotation file.'
            ) from error

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class LoadSemanticSegments(AnnotationTransform):
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
        ValueError: If the PNG is damaged, differs in size from the image, is a
            colour image, has a value that is no class, or shows traces of JPEG
            compression or smooth scaling.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform_annotation(self, results: dict) -> dict:
        """Add the coded ids to ``results``."""
        path = results['seg_map_path']
        values = self.read_png(path)
        check_png_size(values, results)
        label_of_value = results['label_of_value']
        present = np.flatnonzero(np.bincount(values.ravel()))
        ignored = results['ignore_index']
        unknown = [
            value
            for value in present.tolist()
            if value >= len(label_of_value) and value != ignored
        ]
        if has_stray_values(values):
            raise ValueError(f'{path} {STRAY}.')
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
        return read_label_map(
            path,
            'data_root and data_prefix["seg"] of the dataset',
            self.backend_args,
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def check_png_size(png: np.ndarray, results: dict) -> None:
    """Compare a PNG with its annotation and, once it is read, the image.

    Raises:
        ValueError: If their sizes differ.
    """
    size, expected = png.shape[:2], (results['height'], results['width'])
    if size != expected:
        raise ValueError(
            f'{results["seg_map_path"]} is {size}, but its image is '
            f'{expected} (height, width) in the annotation file.'
        )
    check_image_size(size, results)


def check_image_size(size: tuple[int, int], results: dict) -> None:
    """Compare the size of an annotation with that of the image, once read.

    Args:
        size (tuple[int, int]): Height and width of the annotation.
        results (dict): ``img_path`` and, once it is read, ``ori_shape``.

    Raises:
        ValueError: If they differ.
    """
    found = tuple(results.get('ori_shape', size))
    if found == size:
        return
    path = results['img_path']
    if is_turned(path):
        raise ValueError(
            f'{path} is {found} (height, width), turned as its EXIF tag says, '
            f'but its annotation is {size}: mend the annotation, or store the '
            'image unturned.'
        )
    raise ValueError(
        f'{path} is {found} (height, width), but its annotation is {size}: '
        'mend height and width in the annotation, or restore the image.'
    )


def is_turned(path: str) -> bool:
    """Whether an EXIF tag swaps height and width of an image."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(ORIENTATION) in TURNS
    except OSError:  # of another file backend
        return False


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
