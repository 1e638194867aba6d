"""Read the semantic ground truth from a PNG with a label per pixel."""

import io
import os.path as osp

import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get
from PIL import Image, UnidentifiedImageError

from ...tasks import IGNORE_INDEX
from .annotation_transform import AnnotationTransform
from .eval_targets import check_number


@TRANSFORMS.register_module()
class LoadSemanticTruth(AnnotationTransform):
    """Take the semantic ground truth from a PNG with one label per pixel.

    For data sets whose semantic annotation is not that of their panoptic
    one. Put it behind :class:`EvalTargets`, whose map it replaces, or where
    there is no panoptic annotation at all. A PNG with a palette is read by
    its indices.

    The PNG of an image lies in ``seg_prefix`` as the image lies in
    ``img_prefix``, with the end ``img_suffix`` of its path replaced by
    ``seg_suffix``.

    Required Keys: ``img_path``, ``classes``, ``ori_shape``.

    Added Keys: ``gt_seg_map`` (np.uint8, (H, W): label, 255 for what does
    not count), ``seg_fields``.

    Args:
        img_prefix (str): Folder of the images.
        seg_prefix (str): Folder of the PNGs.
        img_suffix (str): End of the names of images.
        seg_suffix (str): End of the names of PNGs.
        ignore_index (int): Label in the PNG that does not count, before
            ``reduce_zero_label``.
        reduce_zero_label (bool): In the PNG 0 does not count, and labels
            begin with 1 (the original files of ADE20K).
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If the image is not in ``img_prefix`` or has another
            ending, the PNG is damaged, of another kind or another size, has
            a label that is no class, or there are more than 255 classes.
    """

    def __init__(
        self,
        img_prefix: str,
        seg_prefix: str,
        img_suffix: str = '.jpg',
        seg_suffix: str = '.png',
        ignore_index: int = IGNORE_INDEX,
        reduce_zero_label: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        self.img_prefix = img_prefix
        self.seg_prefix = seg_prefix
        self.img_suffix = img_suffix
        self.seg_suffix = seg_suffix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label
        self.backend_args = backend_args

    def transform_annotation(self, results: dict) -> dict:
        """Add the label map to ``results``."""
        check_number(type(self).__name__, results['classes'])
        path = self.path_of(results['img_path'])
        labels = self.read_png(path)
        size, expected = labels.shape, tuple(results['ori_shape'][:2])
        if size != expected:
            raise ValueError(
                f'{path} is {size} (height, width), but its image '
                f'{results["img_path"]} is {expected}.'
            )
        ignored = labels == self.ignore_index
        if self.reduce_zero_label:
            ignored |= labels == 0
            labels = labels - 1
        labels = np.where(ignored, IGNORE_INDEX, labels)
        num_classes = len(results['classes'])
        wrong = np.unique(labels[~ignored & (labels >= num_classes)])
        if len(wrong):
            raise ValueError(
                f'{path} has labels {wrong[:5].tolist()} that are no class: '
                f'expected 0 to {num_classes - 1}, after ignore_index='
                f'{self.ignore_index} and reduce_zero_label='
                f'{self.reduce_zero_label}.'
            )
        results['gt_seg_map'] = labels.astype(np.uint8)
        fields = results.setdefault('seg_fields', [])
        if 'gt_seg_map' not in fields:
            fields.append('gt_seg_map')
        return results

    def path_of(self, img_path: str) -> str:
        """Return the path of the PNG of an image."""
        name = osp.relpath(img_path, self.img_prefix)
        if name.startswith('..') or not name.endswith(self.img_suffix):
            raise ValueError(
                f'Image {img_path} is not in img_prefix '
                f'{self.img_prefix!r} of LoadSemanticTruth, or does not end '
                f'in img_suffix {self.img_suffix!r}.'
            )
        name = name.removesuffix(self.img_suffix) + self.seg_suffix
        return osp.join(self.seg_prefix, name)

    def read_png(self, path: str) -> np.ndarray:
        """Return the numbers in the PNG, np.int32 (H, W)."""
        try:
            content = get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Semantic PNG {path} does not exist: check seg_prefix and '
                'seg_suffix of LoadSemanticTruth.'
            ) from error
        try:
            # Unlike OpenCV, Pillow gives the indices of a palette.
            labels = np.array(Image.open(io.BytesIO(content)))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(
                f'{path} cannot be read as a PNG: {error}. Restore the file.'
            ) from error
        if labels.ndim != 2:
            raise ValueError(
                f'{path} has shape {labels.shape}: expected one channel with '
                'a label for each pixel.'
            )
        return labels.astype(np.int32)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(img_prefix={self.img_prefix!r}, '
            f'seg_prefix={self.seg_prefix!r}, '
            f'img_suffix={self.img_suffix!r}, '
            f'seg_suffix={self.seg_suffix!r}, '
            f'ignore_index={self.ignore_index}, '
            f'reduce_zero_label={self.reduce_zero_label}, '
            f'backend_args={self.backend_args})'
        )
