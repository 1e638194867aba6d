"""Panoptic quality."""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.evaluation.metrics.coco_panoptic_metric import print_panoptic_table
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from ..file_writing import write_json, write_png
from ..optional import import_optional
from ..run_lengths import encode_labels, rle_area
from ..segment_ids import encode_ids
from .result_files import category_ids, check_outputs, result_name
from .samples import check_result, check_sizes, check_truth


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ and RQ by the COCO protocol, computed by hotcoco.

    Ground truth comes with the samples (see ``EvalTargets``); predictions are
    stored as run lengths. The quality of things or stuff is NaN if neither
    ground truth nor predictions have any.

    Args:
        classwise (bool): Also PQ of each class, as ``PQ_{name}``.
        outfile_prefix (str, optional): Also write the predictions in the
            COCO panoptic layout, ``{outfile_prefix}.panoptic.json`` and PNGs
            in ``{outfile_prefix}.panoptic/``.
        category_file (str, optional): JSON whose categories, matched by name,
            give the ids to write there. By default these are the labels.
        format_only (bool): Only write files; no ground truth is needed.
        collect_device (str): Where results of all processes are gathered.
        prefix (str, optional): Prefix of the metric names.

    Raises:
        ValueError: If ``format_only`` is set without ``outfile_prefix``.

    Source: arXiv:1801.00868.
    """

    default_prefix = 'panoptic'

    def __init__(
        self,
        classwise: bool = False,
        outfile_prefix: str | None = None,
        category_file: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_outputs(outfile_prefix, format_only)
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.category_file = category_file
        self.format_only = format_only

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Encode the segments of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_panoptic_seg`` and
                ``segments_info`` of ``EvalTargets``.

        Raises:
            ValueError: If a sample lacks one of them, or they differ in size.
        """
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            check_result(sample, 'panoptic')
            panoptic = sample['pred_panoptic_seg']['sem_seg'][0].cpu().numpy()
            predicted = encode_segments(panoptic, num_classes)
            result = dict(size=panoptic.shape, predicted=predicted)
            if not self.format_only:
                result['truth'] = truth_of(sample, panoptic.shape)
            if self.outfile_prefix:
                name = f'{result_name(sample, self.dataset_meta)}.png'
                result.update(image_id=sample['img_id'], file_name=name)
                write_png(
                    f'{self.outfile_prefix}.panoptic/{name}',
                    draw_segments(panoptic, num_classes),
                )
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return PQ, SQ and RQ in percent: all, things (th), stuff (st)."""
        if self.outfile_prefix:
            self.write_results(results)
        if self.format_only:
            return {}
        quality = self.compare(results)
        metrics = {
            f'{metric.upper()}{suffix}': 100 * quality[part][metric]
            for part, suffix in (
                ('All', ''),
                ('Things', '_th'),
                ('Stuff', '_st'),
            )
            for metric in ('pq', 'sq', 'rq')
        }
        per_class = None
        if self.classwise:
            names = self.dataset_meta['classes']
            per_class = {
                names[label]: own
                for label, own in quality['per_class'].items()
            }
            metrics.update(
                {f'PQ_{n}': 100 * own['pq'] for n, own in per_class.items()}
            )
        print_panoptic_table(quality, per_class, logger='current')
        return metrics

    def compare(self, results: list[dict]) -> dict:
        """Return hotcoco's results, NaN if there is nothing to average."""
        things = set(self.dataset_meta['thing_classes'])
        categories = [
            dict(id=label, name=name, isthing=int(name in things))
            for label, name in enumerate(self.dataset_meta['classes'])
        ]
        images, truth, predicted = [], [], []
        for number, result in enumerate(results, 1):
            height, width = result['size']
            names = dict(image_id=number, file_name=f'{number}.png')
            images.append(
                dict(
                    id=number,
                    height=height,
                    width=width,
                    file_name=names['file_name'],
                )
            )
            truth.append(dict(names, segments_info=result['truth']))
            predicted.append(dict(names, segments_info=result['predicted']))
        panoptic = import_optional('hotcoco.panoptic', 'Panoptic qualities')
        evaluation = panoptic.PanopticEval(
            dict(images=images, annotations=truth, categories=categories),
            dict(annotations=predicted),
        )
        evaluation.evaluate()
        quality = evaluation.results()
        for part in ('All', 'Things', 'Stuff'):
            if quality[part]['n'] == 0:  # no class to average over
                quality[part].update(pq=np.nan, sq=np.nan, rq=np.nan)
        for own in quality['per_class'].values():
            if own['pq'] < 0:  # neither there nor predicted
                own.update(pq=np.nan, sq=np.nan, rq=np.nan)
        return quality

    def write_results(self, results: list[dict]) -> None:
        """Write the JSON for the PNGs."""
        classes = self.dataset_meta['classes']
        things = set(self.dataset_meta['thing_classes'])
        ids = list(range(len(classes)))
        if self.category_file:
            ids = category_ids(self.category_file, classes)
        annotations = [
            dict(
                image_id=result['image_id'],
                file_name=result['file_name'],
                segments_info=[
                    dict(
                        id=segment['id'],
                        category_id=ids[segment['category_id']],
                        area=segment['area'],
                    )
                    for segment in result['predicted']
                ],
            )
            for result in results
        ]
        categories = [
            dict(id=number, name=name, isthing=int(name in things))
            for number, name in zip(ids, classes, strict=True)
        ]
        write_json(
            f'{self.outfile_prefix}.panoptic.json',
            dict(annotations=annotations, categories=categories),
        )


def truth_of(sample: dict, size: tuple[int, int]) -> list[dict]:
    """Return the annotated segments of a sample in the COCO layout.

    Args:
        sample (dict): With ``segments_info`` of ``EvalTargets``.
        size (tuple[int, int]): Height and width of the result.

    Raises:
        ValueError: If they are not there, or have another size.
    """
    check_truth(sample, 'segments_info')
    segments = sample['segments_info']
    for segment in segments[:1]:
        check_sizes(sample, size, segment['segmentation']['size'])
    return [
        dict(
            id=number,
            category_id=segment['category'],
            iscrowd=int(segment['iscrowd']),
            area=segment['area'],
            segmentation=segment['segmentation'],
        )
        for number, segment in enumerate(segments, 1)
    ]


def encode_segments(panoptic: np.ndarray, num_classes: int) -> list[dict]:
    """Encode a panoptic prediction as COCO segments.

    Args:
        panoptic (np.ndarray): class + 1000 * instance, void =
            ``num_classes``, (H, W).
        num_classes (int): Number of classes.

    Returns:
        list[dict]: ``id`` (from 1, by rising code), ``category_id`` (label),
        ``area`` and ``segmentation`` (RLE) of each segment.
    """
    rles = encode_labels(panoptic, void=num_classes)
    return [
        dict(
            id=number,
            category_id=code % INSTANCE_OFFSET,
            iscrowd=0,
            area=rle_area(rle),
            segmentation=rle,
        )
        for number, (code, rle) in enumerate(rles.items(), 1)
    ]


def draw_segments(panoptic: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the ids of :func:`encode_segments` as colours.

    Args:
        panoptic (np.ndarray): class + 1000 * instance, void =
            ``num_classes``, (H, W).
        num_classes (int): Number of classes.

    Returns:
        np.ndarray: Red + 256 green + 65536 blue is the id, 0 is void,
        np.uint8 (H, W, 3).
    """
    codes, place = np.unique(panoptic, return_inverse=True)
    ids = np.cumsum(codes != num_classes) * (codes != num_classes)
    ids = ids[place].reshape(panoptic.shape)
    return encode_ids(ids)
