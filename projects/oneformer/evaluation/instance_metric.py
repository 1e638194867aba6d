"""Mask AP of instances that come with the samples."""

from collections.abc import Sequence

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import dump, load
from pycocotools import mask as coco_mask

from .panoptic_metric import check_sample

AP_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class InstanceAP(CocoMetric):
    """mmdet's ``CocoMetric`` on the mask area of the ground truth.

    Without an annotation file ``CocoMetric`` takes the ground truth from the
    samples (see ``EvalTargets``) and measures its area by the box, which
    moves objects between the small, medium and large of AP. Here the mask is
    measured. Where no picture has any prediction, AP is 0 rather than left
    out. Arguments are those of ``CocoMetric``.
    """

    default_prefix = 'instance'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Encode the instances of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_instances`` and, unless
                there is an annotation file, ``instances`` of ``EvalTargets``.

        Raises:
            ValueError: If a sample lacks one of them.
        """
        if self._coco_api is None:
            for sample in data_samples:
                check_sample(sample, 'instance', 'instances')
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return AP as a fraction, by the names of ``CocoMetric``."""
        from_samples = self._coco_api is None
        metrics = super().compute_metrics(results)
        if from_samples:  # the next ones may be of another data set
            self._coco_api = self.cat_ids = self.img_ids = None
        if metrics or self.format_only:
            return metrics
        items = self.metric_items or AP_ITEMS
        return {
            f'{metric}_{item}': 0.0
            for metric in self.metrics
            for item in items
        }

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
