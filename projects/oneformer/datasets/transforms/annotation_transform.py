"""What the transforms of annotations do where there is no annotation."""

from abc import abstractmethod
from collections.abc import Mapping

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

# mmengine's datasets number every sample, and those of mmdet and ours add an
# annotation; mmdet's inferencers give the image and nothing of these.
DATASET_KEYS = (
    'sample_idx',
    'classes',
    'annotation',
    'segments_info',
    'instances',
    'seg_map_path',
)
# mmdet's steps that read annotations.
MMDET_STEPS = ('LoadPanopticAnnotations', 'LoadAnnotations')


class AnnotationTransform(BaseTransform):
    """A transform of annotations that lets a bare image pass.

    So the test pipeline of a config also serves ``DetInferencer`` and
    ``inference_detector`` of mmdet, which run it on images without
    annotation. A sample of a dataset always goes through
    :meth:`transform_annotation`, which raises where the annotation is missing
    or wrong.
    """

    def transform(self, results: dict) -> dict:
        """Transform the annotation in ``results``, if they have one."""
        if is_bare_image(results):
            return results
        return self.transform_annotation(results)

    @abstractmethod
    def transform_annotation(self, results: dict) -> dict:
        """Transform the annotation of a sample of a dataset."""


def reads_annotations(step: Mapping) -> bool:
    """Whether a step of a pipeline is for annotations alone.

    Args:
        step (Mapping): Its config.
    """
    name = step['type'].rpartition('.')[-1]
    found = TRANSFORMS.module_dict.get(name)
    return name in MMDET_STEPS or (
        isinstance(found, type) and issubclass(found, AnnotationTransform)
    )


def is_bare_image(results: dict) -> bool:
    """Whether results hold an image that comes from no dataset."""
    return not any(key in results for key in DATASET_KEYS)
