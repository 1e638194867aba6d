"""Read the semantic ground truth from a PNG with a label per pixel."""

import os.path as osp

import numpy as np
from mmdet.registry import TRANSFORMS

from ...tasks import ignore_index
from ..annotation_files import read_label_map
from ..file_names import IMAGE_SUFFIXES, image_stem
from .annotation_transform import AnnotationTransform
from .eval_targets import map_type


@TRANSFORMS.register_module()
class LoadSemanticTruth(AnnotationTransform):
    """Take the semantic ground truth from a PNG with one label per pixel.

    For data sets whose semantic annotation differs from their panoptic one.
    Put it after :class:`EvalTargets`, whose map it replaces, or use it alone
    if there is no panoptic annotation. A PNG with a palette is read by its
    indices.

    The path of a PNG below ``seg_prefix`` is that of its image below
    ``img_prefix``, with ``img_suffix`` at the end replaced by ``seg_suffix``.

    Required Keys: ``img_path``, ``classes``, ``ori_shape``.

    Added Keys: ``gt_seg_map`` (as of :class:`EvalTargets`), ``seg_fields``.

    Args:
        img_prefix (str): Folder of the images.
        seg_prefix (str): Folder of the PNGs.
        img_suffix (str, optional): End of the names of images, in upper or
            lower case; by default that of any image format.
        seg_suffix (str): End of the names of PNGs.
        ignore_index (int, optional): Label of ignored pixels in the PNG,
            before ``reduce_zero_label``; by default 255, or 65535 if 255 is a
            class.
        reduce_zero_label (bool): Whether 0 is ignored in the PNG, and labels
            begin with 1 (as in the original files of ADE20K).
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If the image is not in ``img_prefix`` or has another
            ending, or the PNG is damaged, of another kind or another size,
            or has a label that is no class.
    """

    def __init__(
        self,
        img_prefix: str,
        seg_prefix: str,
        img_suffix: str | None = None,
        seg_suffix: str = '.png',
        ignore_index: int | None = None,
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
        path = self.path_of(results['img_path'])
        labels = read_label_map(
            path,
            'seg_prefix and seg_suffix of LoadSemanticTruth',
            self.backend_args,
        )
        size, expected = labels.shape, tuple(results['ori_shape'][:2])
        if size != expected:
            raise ValueError(
                f'{path} is {size} (height, width), but its image '
                f'{results["img_path"]} is {expected}.'
            )
        num_classes = len(results['classes'])
        left_out = self.ignore_index
        if left_out is None:
            left_out = ignore_index(num_classes + self.reduce_zero_label)
        ignored = labels == left_out
        if self.reduce_zero_label:
            ignored |= labels == 0
            labels = labels - 1
        void = ignore_index(num_classes)
        labels = np.where(ignored, void, labels)
        wrong = np.unique(labels[~ignored & (labels >= num_classes)])
        if len(wrong):
            raise ValueError(
                f'{path} has labels {wrong[:5].tolist()} that are no class: '
                f'expected 0 to {num_classes - 1}, after ignore_index='
                f'{left_out} and reduce_zero_label='
                f'{self.reduce_zero_label}.'
            )
        results['gt_seg_map'] = labels.astype(map_type(void))
        fields = results.setdefault('seg_fields', [])
        if 'gt_seg_map' not in fields:
            fields.append('gt_seg_map')
        return results

    def path_of(self, img_path: str) -> str:
        """Return the path of the PNG of an image."""
        name = osp.relpath(img_path, self.img_prefix)
        stem = image_stem(name, self.img_suffix)
        if name.startswith('..') or stem is None:
            raise ValueError(
                f'Image {img_path} is not in img_prefix '
                f'{self.img_prefix!r} of LoadSemanticTruth, or does not end '
                f'in img_suffix {self.img_suffix or IMAGE_SUFFIXES!r}.'
            )
        return osp.join(self.seg_prefix, stem + self.seg_suffix)

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
