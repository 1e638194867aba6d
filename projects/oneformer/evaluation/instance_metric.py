"""Mask AP by the COCO protocol."""

import logging
import reprlib
from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from ..datasets.annotation_files import read_json
from ..datasets.coco_layout import is_box, is_size, require_coco
from ..datasets.coco_masks import check_segmentation, to_rle
from ..errors import InputError, user_errors
from ..file_writing import write_json
from ..optional import import_optional
from ..run_lengths import encode_masks, rle_area, rle_box
from .result_files import category_ids, check_outputs
from .samples import check_result, check_sizes, check_truth

# Name, IoU threshold (None: mean of all), place among hotcoco's area ranges.
AP_ITEMS = (
    ('mAP', None, 0),
    ('mAP_50', 0, 0),
    ('mAP_75', 5, 0),
    ('mAP_s', None, 1),
    ('mAP_m', None, 2),
    ('mAP_l', None, 3),
)
METRIC_NAMES = ('segm', 'bbox')
CATEGORY_KEYS = ('name', 'label')


@METRICS.register_module()
class InstanceAP(BaseMetric):
    """AP of instances by the COCO protocol, computed by hotcoco.

    Masks are converted to run lengths at once. Ground truth comes with the
    samples (``instances`` of ``EvalTargets``) or from a COCO JSON. Objects are
    measured by their mask; their ids in the file are replaced by numbers from
    1. Only the images that were processed count.

    Metrics are fractions, by the names of mmdet's ``CocoMetric``
    (``segm_mAP``, ``segm_mAP_50`` ... and ``segm_AR@100``), -1 where the
    ground truth has no object.

    Args:
        metric (str | Sequence[str]): 'segm', 'bbox' or both.
        ann_file (str, optional): COCO JSON with the ground truth.
        category_key (str): How the categories of ``ann_file`` are found: by
            their 'name', or by their id, which is the 'label' (ADE20K).
        proposal_nums (Sequence[int]): Predictions that count in an image
            and class, the best ones: AP takes the last, AR each.
        classwise (bool): Also AP of each class, as ``segm_mAP_{name}``.
        outfile_prefix (str, optional): Also write the predictions as
            ``{outfile_prefix}.segm.json`` or ``.bbox.json``.
        category_file (str, optional): JSON whose categories, matched by name,
            give the ids to write there. By default those of ``ann_file``, or
            the labels if there is none.
        format_only (bool): Only write files; no ground truth is needed.
        collect_device (str): Where results of all processes are gathered.
        prefix (str, optional): Prefix of the metric names.

    Raises:
        ValueError: If an option is unknown, or ``format_only`` is set without
            ``outfile_prefix``.
    """

    default_prefix = 'instance'

    def __init__(
        self,
        metric: str | Sequence[str] = 'segm',
        ann_file: str | None = None,
        category_key: str = 'name',
        proposal_nums: Sequence[int] = (1, 10, 100),
        classwise: bool = False,
        outfile_prefix: str | None = None,
        category_file: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        if unknown := [m for m in self.metrics if m not in METRIC_NAMES]:
            raise InputError(
                f'Expected metric to be of {METRIC_NAMES}, got {unknown}.'
            )
        if category_key not in CATEGORY_KEYS:
            raise InputError(
                f'Expected category_key to be one of {CATEGORY_KEYS}, got '
                f'{category_key!r}.'
            )
        check_outputs(outfile_prefix, format_only)
        self.ann_file = ann_file
        self.category_key = category_key
        self.proposal_nums = list(proposal_nums)
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.category_file = category_file
        self.format_only = format_only
        self._annotations: dict | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Encode the instances of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_instances`` (its
                ``masks`` booleans (M, H, W), or run lengths) and, unless
                there is an annotation file, ``instances`` of ``EvalTargets``.

        Raises:
            FileNotFoundError: If the annotation file does not exist.
            ValueError: If a sample lacks one of them, or the annotation file
                lacks an image or a class.
        """
        for sample in data_samples:
            check_result(sample, 'instance')
            pred = sample['pred_instances']
            masks = pred['masks']
            if not isinstance(masks, list):
                masks = encode_masks(masks)
            result = dict(
                image_id=sample['img_id'],
                size=tuple(sample['ori_shape'][:2]),
                labels=pred['labels'].tolist(),
                scores=pred['scores'].tolist(),
                masks=masks,
            )
            if 'bbox' in self.metrics:
                result['boxes'] = to_xywh(pred['bboxes'].cpu().numpy())
            for mask in masks[:1]:
                check_sizes(sample, mask['size'], result['size'])
            if self.ann_file is None and not self.format_only:
                check_truth(sample, 'instances')
                result['truth'] = list(map(to_coco, sample['instances']))
            elif not self.format_only:
                self.check_image(sample)
            self.results.append(result)

    @property
    def annotations(self) -> dict:
        """Annotations of each image in the file, by its id."""
        if self._annotations is None:
            assert self.ann_file is not None, 'the samples have the truth'
            self._annotations = read_annotations(
                self.ann_file, self.dataset_meta, self.category_key
            )
        return self._annotations

    def check_image(self, sample: dict) -> None:
        """Refuse an image that is not in the annotation file."""
        if sample['img_id'] not in self.annotations:
            raise InputError(
                f'{self.ann_file} has no image with the id '
                f'{sample["img_id"]!r} ({sample.get("img_path")}): expected '
                'those of the data set, it has '
                f'{reprlib.repr(list(self.annotations))}.'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return AP and AR as fractions, by the names of ``CocoMetric``."""
        if self.outfile_prefix:
            self.write_results(results)
        if self.format_only:
            return {}
        if self.ann_file is not None:
            results = [
                dict(result, truth=self.annotations[result['image_id']])
                for result in results
            ]
        metrics = {}
        for metric in self.metrics:
            metrics.update(self.compare(metric, results))
        return metrics

    def compare(self, metric: str, results: list[dict]) -> dict[str, float]:
        """Return the metrics of masks ('segm') or boxes ('bbox')."""
        classes = self.dataset_meta['classes']
        precision, recall = evaluate(
            metric, results, len(classes), self.proposal_nums
        )
        metrics = {}
        for name, threshold, area in AP_ITEMS:
            rows = slice(None) if threshold is None else threshold
            metrics[f'{metric}_{name}'] = _mean(precision[rows, ..., area, -1])
        for place, number in enumerate(self.proposal_nums):
            metrics[f'{metric}_AR@{number}'] = _mean(recall[..., 0, place])
        print_log(format_table(metrics), logger='current')
        if self.classwise:
            of_class = {
                f'{metric}_mAP_{name}': _mean(precision[:, :, label, 0, -1])
                for label, name in enumerate(classes)
            }
            print_log(format_table(of_class), logger='current')
            metrics.update(of_class)
        return metrics

    def write_results(self, results: list[dict]) -> None:
        """Write the predictions in the layout of COCO results."""
        classes = self.dataset_meta['classes']
        labels = list(range(len(classes)))
        ids = dict(enumerate(labels))
        by_name = self.ann_file and self.category_key == 'name'
        if source := self.category_file or (by_name and self.ann_file):
            # Only things are predicted, and some files list no others.
            things = list(self.dataset_meta['thing_classes'])
            ids = {
                classes.index(name): number
                for name, number in zip(
                    things, category_ids(source, things), strict=True
                )
            }
        for metric in self.metrics:
            entries = [
                dict(entry, category_id=ids[entry['category_id']])
                for result in results
                for entry in predictions(metric, result, result['image_id'])
            ]
            write_json(f'{self.outfile_prefix}.{metric}.json', entries)


def read_annotations(path: str, meta: dict, category_key: str) -> dict:
    """Read the ground truth of a COCO JSON.

    Args:
        path (str): The file.
        meta (dict): ``classes`` and ``thing_classes``.
        category_key (str): See :class:`InstanceAP`.

    Returns:
        dict: Image id -> annotations, their ``category_id`` being the
        label; categories that are no class are left out.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If no thing is among its categories.
    """
    with user_errors():
        raw = read_json(
            path,
            'ann_file of InstanceAP, or leave it out to measure against the '
            'instances of the panoptic annotation',
        )
        content, warning = require_coco(raw, 'instance', path)
    if warning:
        print_log(warning, logger='current', level=logging.WARNING)
    labels = labels_by_id(content.categories, path, meta, category_key)
    sizes = {i['id']: (i['height'], i['width']) for i in content.images}
    annotations: dict = {number: [] for number in sizes}
    for own in content.annotations:
        label = labels.get(own['category_id'])
        if label is None:
            continue
        try:
            size = sizes[own['image_id']]
            annotations[own['image_id']].append(read_truth(own, label, size))
        except (KeyError, ValueError) as error:
            raise InputError(
                f'{path} has an annotation (id {own["id"]!r}, image '
                f'{own["image_id"]!r}) that cannot be used: '
                + str(error if own['image_id'] in sizes else 'no such image')
                + '. Mend or remove it.'
            ) from error
    return annotations


def labels_by_id(
    categories: list[dict], path: str, meta: dict, category_key: str
) -> dict[int, int]:
    """Return the label of each category id that is a class.

    Args:
        categories (list[dict]): Those of a COCO JSON.
        path (str): The file, for the message.
        meta (dict): ``classes`` and ``thing_classes``.
        category_key (str): See :class:`InstanceAP`.

    Raises:
        ValueError: If no thing is among the categories. Of those that are
            missing, a warning says that they have no ground truth.
    """
    classes = list(meta['classes'])
    labels = dict(enumerate(range(len(classes))))
    if category_key == 'name':
        labels = {
            category['id']: classes.index(category['name'])
            for category in categories
            if category['name'] in classes
        }
    known = {labels.get(category['id']) for category in categories}
    if missing := [
        name
        for name in meta['thing_classes']
        if classes.index(name) not in known
    ]:
        names = [category['name'] for category in categories]
        found = (
            f'{path} has no categories {missing}, by their {category_key}; '
            f'its categories are {reprlib.repr(names)}. Where their ids are '
            "the labels, set category_key='label' of InstanceAP; where they "
            "have the names of the classes, 'name'."
        )
        if len(missing) == len(meta['thing_classes']):
            raise InputError(found)
        print_log(
            f'{found} AP leaves these classes out.',
            logger='current',
            level=logging.WARNING,
        )
    return labels


def read_truth(annotation: dict, label: int, size: tuple[int, int]) -> dict:
    """Return an object of a COCO JSON as COCO's evaluation reads it.

    Args:
        annotation (dict): The object; ``area`` and ``bbox`` are those of its
            mask where it has none.
        label (int): Its class.
        size (tuple[int, int]): Height and width of the image.

    Raises:
        ValueError: If a value is no finite number, or the mask cannot be
            drawn.
    """
    shape = annotation['segmentation']
    area, box = annotation.get('area'), annotation.get('bbox')
    check_segmentation(shape, size)
    if not isinstance(shape, list) or area is None or box is None:
        shape = to_rle(shape, size)
    area = rle_area(shape) if area is None else area
    box = rle_box(shape) if box is None else box
    if not is_size(area) or not is_box(box):
        raise InputError(
            f'area is {reprlib.repr(area)} and bbox {reprlib.repr(box)}, '
            'expected a number and four numbers'
        )
    return dict(
        category_id=label,
        iscrowd=annotation.get('iscrowd', 0),
        area=area,
        bbox=box,
        segmentation=shape,
    )


def to_coco(instance: dict) -> dict:
    """Return an object of ``EvalTargets`` in the COCO layout."""
    left, top, right, bottom = instance['bbox']
    return dict(
        category_id=instance['bbox_label'],
        iscrowd=instance['ignore_flag'],
        area=rle_area(instance['mask']),
        bbox=[left, top, right - left, bottom - top],
        segmentation=instance['mask'],
    )


def predictions(metric: str, result: dict, image_id: int | str) -> list[dict]:
    """Return the predictions in an image in the layout of COCO results.

    Args:
        metric (str): 'segm' or 'bbox'. One excludes the other, as COCO
            measures the size of what has a box by the box.
        result (dict): What :class:`InstanceAP` keeps of an image.
        image_id (int | str): The id to give.
    """
    key = dict(segm='masks', bbox='boxes')[metric]
    name = dict(segm='segmentation', bbox='bbox')[metric]
    return [
        {
            'image_id': image_id,
            'category_id': label,
            'score': score,
            name: shape,
        }
        for label, score, shape in zip(
            result['labels'], result['scores'], result[key], strict=True
        )
    ]


def evaluate(
    metric: str,
    results: list[dict],
    num_classes: int,
    proposal_nums: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Match predictions with ground truth.

    Args:
        metric (str): 'segm' or 'bbox'.
        results (list[dict]): What :class:`InstanceAP` keeps, with ``truth``.
        num_classes (int): Number of classes, K.
        proposal_nums (Sequence[int]): Predictions that count.

    Returns:
        tuple[np.ndarray, np.ndarray]: Precision by IoU threshold, recall,
        class, area range and number of predictions (10, 101, K, 4, M), and
        recall likewise (10, K, 4, M); -1 where there is no ground truth.
    """
    images: list[dict] = []
    truth: list[dict] = []
    found: list[dict] = []
    for number, result in enumerate(results, 1):
        height, width = result['size']
        images.append(dict(id=number, height=height, width=width))
        truth.extend(dict(own, image_id=number) for own in result['truth'])
        found.extend(predictions(metric, result, number))
    # From 1, as COCO takes the number 0 for no match.
    truth = [dict(own, id=number) for number, own in enumerate(truth, 1)]
    categories = [dict(id=k, name=str(k)) for k in range(num_classes)]
    hotcoco = import_optional('hotcoco', 'Average precisions')
    coco = hotcoco.COCO(
        dict(images=images, annotations=truth, categories=categories)
    )
    evaluation = hotcoco.COCOeval(coco, coco.load_res(found), metric)
    evaluation.params.max_dets = list(proposal_nums)
    evaluation.evaluate()
    evaluation.accumulate()
    return (
        np.asarray(evaluation.eval['precision']),
        np.asarray(evaluation.eval['recall']),
    )


def to_xywh(boxes: np.ndarray) -> list[list[float]]:
    """Turn (left, top, right, bottom) into (left, top, width, height)."""
    boxes = boxes.astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes.tolist()


def format_table(metrics: dict[str, float]) -> str:
    """Return a table of fractions, in percent, a dash for what is not."""
    rows = [
        [name, f'{100 * value:.1f}' if value >= 0 else '-']
        for name, value in metrics.items()
    ]
    return '\n' + AsciiTable([['', '%'], *rows]).table


def _mean(values: np.ndarray) -> float:
    """Return the mean of what has ground truth, -1 where nothing has."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
