"""Panoptic quality."""

from collections.abc import Sequence

import numpy as np
from hotcoco.panoptic import PanopticEval
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.evaluation.metrics.coco_panoptic_metric import print_panoptic_table
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from pycocotools import mask as coco_mask

from ..models.oneformer import RESULT_FIELDS


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ and RQ by the COCO protocol, computed by hotcoco.

    Ground truth comes with the samples (see ``EvalTargets``), predictions
    are kept as run lengths. The quality of things or stuff is NaN where
    neither ground truth nor predictions have any.

    Args:
        collect_device (str): Where results of all processes are gathered.
        prefix (str, optional): Prefix of the metric names.

    Source: arXiv:1801.00868.
    """

    default_prefix = 'panoptic'

    def __init__(
        self, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Encode the segments of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_panoptic_seg`` and
                ``segments_info`` of ``EvalTargets``.

        Raises:
            ValueError: If a sample lacks one of them.
        """
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            check_sample(sample, 'panoptic', 'segments_info')
            truth = [
                dict(
                    id=number,
                    category_id=segment['category'],
                    iscrowd=int(segment['iscrowd']),
                    area=segment['area'],
                    segmentation=segment['segmentation'],
                )
                for number, segment in enumerate(sample['segments_info'], 1)
            ]
            panoptic = sample['pred_panoptic_seg']['sem_seg'][0].cpu().numpy()
            predicted = encode_segments(panoptic, num_classes)
            self.results.append((panoptic.shape, truth, predicted))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return PQ, SQ and RQ in percent: all, things (th), stuff (st)."""
        classes = self.dataset_meta['classes']
        things = set(self.dataset_meta['thing_classes'])
        images, truth, predicted = [], [], []
        for number, (shape, own_truth, own_predicted) in enumerate(results, 1):
            height, width = shape
            name = f'{number}.png'
            images.append(
                dict(id=number, height=height, width=width, file_name=name)
            )
            for annotations, segments in (
                (truth, own_truth),
                (predicted, own_predicted),
            ):
                annotations.append(
                    dict(
                        image_id=number,
                        file_name=name,
                        segments_info=segments,
                    )
                )
        categories = [
            dict(id=label, name=name, isthing=int(name in things))
            for label, name in enumerate(classes)
        ]
        evaluation = PanopticEval(
            dict(images=images, annotations=truth, categories=categories),
            dict(annotations=predicted),
        )
        evaluation.evaluate()
        quality = evaluation.results()
        for part in ('All', 'Things', 'Stuff'):
            if quality[part]['n'] == 0:  # no class to average over
                quality[part].update(pq=np.nan, sq=np.nan, rq=np.nan)
        print_panoptic_table(quality, logger='current')
        return {
            f'{metric.upper()}{suffix}': 100 * quality[part][metric]
            for part, suffix in (
                ('All', ''),
                ('Things', '_th'),
                ('Stuff', '_st'),
            )
            for metric in ('pq', 'sq', 'rq')
        }


def encode_segments(panoptic: np.ndarray, num_classes: int) -> list[dict]:
    """Encode a panoptic prediction as COCO segments.

    Args:
        panoptic (np.ndarray): class + 1000 * instance, void =
            ``num_classes``, (H, W).
        num_classes (int): Number of classes.

    Returns:
        list[dict]: ``id`` (from 1), ``category_id`` (label), ``area`` and
        ``segmentation`` (RLE) of each segment.
    """
    # In the memory order of run lengths, which spares a copy per mask.
    panoptic = np.asfortranarray(panoptic)
    segments = []
    for code in np.unique(panoptic):
        label = int(code) % INSTANCE_OFFSET
        if label == num_classes:
            continue
        mask = panoptic == code
        rle = coco_mask.encode(mask.view(np.uint8))
        rle['counts'] = rle['counts'].decode()
        segments.append(
            dict(
                id=len(segments) + 1,
                category_id=label,
                iscrowd=0,
                area=int(np.count_nonzero(mask)),
                segmentation=rle,
            )
        )
    return segments


def check_sample(sample: dict, task: str, truth: str) -> None:
    """Check that a sample has the result of a task and its ground truth.

    Args:
        sample (dict): A ``DetDataSample`` as the evaluator hands it over.
        task (str): One of :data:`~projects.oneformer.tasks.TASKS`.
        truth (str): Key of the ground truth.

    Raises:
        ValueError: If it has not.
    """
    if RESULT_FIELDS[task] not in sample:
        raise ValueError(
            f'Picture {sample.get("img_path")} has no {task} result: add '
            f"'{task}' to test_cfg.tasks of the model, or leave the {task} "
            'metric out of the evaluator.'
        )
    if truth not in sample:
        raise ValueError(
            f'Picture {sample.get("img_path")} has no {truth!r} to compare '
            'with: put EvalTargets into the test pipeline, and '
            f'{truth!r} into the meta_keys of PackDetInputs.'
        )
