"""Mask AP of instances that come with the samples."""

from collections.abc import Sequence

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import dump, load
from pycocotools import mask as coco_mask


@METRICS.register_module()
class InstanceAP(CocoMetric):
    """mmdet's ``CocoMetric`` on the mask area of the ground truth.

    Without an annotation file ``CocoMetric`` takes the ground truth from the
    samples (see ``EvalTargets``) and measures its area by the box, which
    moves objects between the small, medium and large of AP. Here the mask is
    measured. Arguments are those of ``CocoMetric``.
    """

    default_prefix = 'instance'

    def gt_to_coco_json(
        self, gt_dicts: Sequence[dict], outfile_prefix: str
    ) -> str:
        """Write the ground truth as COCO JSON; return the name of the file."""
        path = super().gt_to_coco_json(gt_dicts, outfile_prefix)
        content = load(path)
        for annotation in content.setdefault('annotations', []):
            annotation['area'] = float(
                coco_mask.area(annotation['segmentation'])
            )
        dump(content, path)
        return path
