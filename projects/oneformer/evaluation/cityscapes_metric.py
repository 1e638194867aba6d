"""The official metrics of Cityscapes, on instances and on pixels.

What the official scripts count in files is counted here as images come in;
their own functions turn the counts into scores.
"""

import contextlib
import copy
import os.path as osp
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image

from ..errors import InputError, MissingFileError
from ..file_writing import write_file, write_png
from ..optional import import_optional
from ..run_lengths import coco_mask, encode_labels, encode_masks, rle_area
from .instance_metric import format_table
from .result_files import check_outputs, image_name
from .samples import check_result, check_sizes

# Class -> number in the official files. Others do not count.
LABEL_IDS = {
    'road': 7,
    'sidewalk': 8,
    'building': 11,
    'wall': 12,
    'fence': 13,
    'pole': 17,
    'traffic light': 19,
    'traffic sign': 20,
    'vegetation': 21,
    'terrain': 22,
    'sky': 23,
    'person': 24,
    'rider': 25,
    'car': 26,
    'truck': 27,
    'bus': 28,
    'train': 31,
    'motorcycle': 32,
    'bicycle': 33,
}
IMAGE_SUFFIX = '_leftImg8bit'


class CityscapesMetric(BaseMetric):
    """What the two metrics share.

    Args:
        seg_prefix (str, optional): Folder with the annotation of the split,
            as ``gtFine/val``, one folder for each city inside. Needed unless
            ``format_only``.
        outfile_prefix (str, optional): Beginning of the path of the folder
            with files to submit.
        format_only (bool): Write these and measure nothing.
        collect_device (str): Where results of all processes are gathered.
        prefix (str, optional): Prefix of the metric names.

    Raises:
        ImportError: If the official scripts are needed and not installed.
        ValueError: If ``format_only`` comes without ``outfile_prefix``, or
            measuring without ``seg_prefix``.
    """

    script: str  # of cityscapesscripts.evaluation

    def __init__(
        self,
        seg_prefix: str | None = None,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_outputs(outfile_prefix, format_only)
        if not format_only:
            if seg_prefix is None:
                raise InputError(
                    f'{type(self).__name__} needs seg_prefix, the folder of '
                    "the annotation, as in 'data/cityscapes/gtFine/val'."
                )
            self.load_script()
        self.seg_prefix = seg_prefix
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only

    def load_script(self) -> ModuleType:
        """Return the official script."""
        return import_optional(
            f'cityscapesscripts.evaluation.{self.script}',
            'The official metrics of Cityscapes',
        )

    def script_options(self) -> tuple[ModuleType, Any]:
        """Return the official script, and a copy of its settings."""
        script = self.load_script()
        options = copy.copy(script.args)
        options.quiet = True
        return script, options

    def label_ids(self) -> list[int]:
        """Return the official number of each class.

        Raises:
            ValueError: If a class is not one of Cityscapes.
        """
        classes = self.dataset_meta['classes']
        if unknown := [name for name in classes if name not in LABEL_IDS]:
            raise InputError(
                f'Cityscapes has no classes {unknown}; it has '
                f'{list(LABEL_IDS)}.'
            )
        return [LABEL_IDS[name] for name in classes]

    def truth_path(self, sample: dict, kind: str) -> str:
        """Return the path of an annotation of an image.

        Args:
            sample (dict): With ``img_path``.
            kind (str): 'labelIds' or 'instanceIds'.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the image is not named as in Cityscapes.
        """
        name = image_name(sample)
        if not name.endswith(IMAGE_SUFFIX):
            raise InputError(
                f'Image {sample["img_path"]} is not named as in Cityscapes: '
                f'expected <city>_<number>_<number>{IMAGE_SUFFIX}.png.'
            )
        name = name.removesuffix(IMAGE_SUFFIX)
        assert self.seg_prefix is not None, 'nothing is measured'
        path = osp.join(
            self.seg_prefix, name.split('_')[0], f'{name}_gtFine_{kind}.png'
        )
        if not osp.isfile(path):
            raise MissingFileError(
                f'{path}, the annotation of {sample["img_path"]}, does not '
                f'exist: check seg_prefix of {type(self).__name__}.'
            )
        return path


@METRICS.register_module()
class CityscapesInstanceAP(CityscapesMetric):
    """AP of instances by the official script of Cityscapes.

    Metrics are fractions with the names of ``InstanceAP``: ``segm_mAP``,
    ``segm_mAP_50`` and ``segm_mAP_{class}``; NaN if there is no object.

    The files to submit are, for each image, a list
    ``{outfile_prefix}.instance/{image}_pred.txt`` and one mask per line of it.

    Arguments are those of :class:`CityscapesMetric`. The annotation is
    ``*_gtFine_instanceIds.png``.
    """

    default_prefix = 'instance'
    script = 'evalInstanceLevelSemanticLabeling'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels that predictions share with objects.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_instances``.

        Raises:
            FileNotFoundError: If an image has no annotation.
            ValueError: If a sample has no instances or another size than its
                annotation, or a name or class is not one of Cityscapes.
        """
        label_ids = self.label_ids()
        for sample in data_samples:
            check_result(sample, 'instance')
            pred = sample['pred_instances']
            masks = pred['masks']
            if not isinstance(masks, list):
                masks = encode_masks(masks)
            labels, scores = pred['labels'].tolist(), pred['scores'].tolist()
            if self.outfile_prefix:
                self.write_results(sample, masks, labels, scores)
            match = None
            if not self.format_only:
                ids = [label_ids[label] for label in labels]
                match = self.match(sample, masks, ids, scores)
            self.results.append(match)

    def match(
        self,
        sample: dict,
        masks: list[dict],
        ids: list[int],
        scores: list[float],
    ) -> dict:
        """Return objects and predictions of an image as the script does.

        Args:
            sample (dict): The image.
            masks (list[dict]): Run lengths.
            ids (list[int]): Official number of the class of each.
            scores (list[float]): Score of each.

        Returns:
            dict: ``groundTruth`` and ``prediction``, each a list by class.
        """
        truth = read_instances(self.truth_path(sample, 'instanceIds'))
        if masks:
            size = next(iter(truth.values()))['size']
            check_sizes(sample, masks[0]['size'], size)
        labels = self.load_script().labels
        void_ids = {label.id for label in labels if label.ignoreInEval}
        void = [rle for number, rle in truth.items() if number in void_ids]
        in_void = shared_pixels(masks, void).sum(1).tolist()
        objects, predictions = {}, {}
        for label in labels:
            if not label.hasInstances or label.ignoreInEval:
                continue
            rows = [row for row, own in enumerate(ids) if own == label.id]
            objects[label.name], predictions[label.name] = match_class(
                {
                    n: rle
                    for n, rle in truth.items()
                    if class_of(n) == label.id
                },
                [masks[row] for row in rows],
                [scores[row] for row in rows],
                [in_void[row] for row in rows],
            )
        return dict(groundTruth=objects, prediction=predictions)

    def write_results(
        self,
        sample: dict,
        masks: list[dict],
        labels: list[int],
        scores: list[float],
    ) -> None:
        """Write the files to submit for an image, the list at the end."""
        folder, name = f'{self.outfile_prefix}.instance', image_name(sample)
        classes, ids = self.dataset_meta['classes'], self.label_ids()
        lines = []
        for number, (rle, label, score) in enumerate(
            zip(masks, labels, scores, strict=True)
        ):
            file_name = f'{name}_{number}_{classes[label]}.png'
            file_name = file_name.replace(' ', '-')  # splits the line
            write_png(
                osp.join(folder, file_name),
                coco_mask().decode(rle).astype(bool),
            )
            lines.append(f'{file_name} {ids[label]} {score!r}\n')
        write_file(
            osp.join(folder, f'{name}_pred.txt'), ''.join(lines).encode()
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return AP as fractions."""
        if self.format_only:
            return {}
        script, options = self.script_options()
        script.setInstanceLabels(options)
        matches = dict(enumerate(results))
        averages = script.computeAverages(
            script.evaluateMatches(matches, options), options
        )
        metrics = dict(
            segm_mAP=averages['allAp'], segm_mAP_50=averages['allAp50%']
        )
        for name, own in averages['classes'].items():
            metrics[f'segm_mAP_{name}'] = own['ap']
        metrics = {name: float(value) for name, value in metrics.items()}
        print_log(format_table(metrics), logger='current')
        return metrics


@METRICS.register_module()
class CityscapesPixelIoU(CityscapesMetric):
    """IoU of pixels by the official script of Cityscapes.

    Metrics are in percent: ``mIoU`` and ``mIoU_category`` of classes and
    their categories, ``iIoU`` and ``iIoU_category`` with pixels of small
    objects weighted up. ``mIoU`` is that of ``SemanticIoU``, which is faster
    and needs no scripts.

    The files to submit are PNGs in ``{outfile_prefix}.semantic/`` with the
    official number of the class in each pixel.

    Arguments are those of :class:`CityscapesMetric`. The annotation is
    ``*_gtFine_labelIds.png`` and ``*_gtFine_instanceIds.png``.
    """

    default_prefix = 'semantic'
    script = 'evalPixelLevelSemanticLabeling'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch by the official script.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_sem_seg``.

        Raises:
            FileNotFoundError: If an image has no annotation.
            ValueError: If a sample has no semantic result or another size
                than its annotation, or a name or class is not one of
                Cityscapes.
        """
        table = np.array(self.label_ids(), np.uint8)
        for sample in data_samples:
            check_result(sample, 'semantic')
            labels = sample['pred_sem_seg']['sem_seg'][0].cpu().numpy()
            name = f'{image_name(sample)}.png'
            with self.open_folder() as folder:
                path = osp.join(folder, name)
                write_png(path, table[labels])
                self.results.append(
                    None if self.format_only else self.count(sample, path)
                )

    @contextlib.contextmanager
    def open_folder(self) -> Iterator[str]:
        """Yield a folder for files, a temporary one without a prefix."""
        if self.outfile_prefix:
            yield f'{self.outfile_prefix}.semantic'
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield folder

    def count(self, sample: dict, path: str) -> tuple[np.ndarray, dict]:
        """Return confusions and weighted counts of an image.

        Args:
            sample (dict): The image.
            path (str): The PNG with its result.
        """
        truth = self.truth_path(sample, 'labelIds')
        self.truth_path(sample, 'instanceIds')  # which the script reads, too
        with Image.open(path) as own, Image.open(truth) as other:
            check_sizes(sample, own.size[::-1], other.size[::-1])
        script, options = self.script_options()
        confusion = script.generateMatrix(options)
        instances = script.generateInstanceStats(options)
        with numpy_with_in1d():
            script.evaluatePair(path, truth, confusion, instances, {}, options)
        return confusion, instances

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the scores of classes and categories in percent."""
        if self.format_only:
            return {}
        script, options = self.script_options()
        confusion = script.generateMatrix(options)
        instances = script.generateInstanceStats(options)
        for own_confusion, own_instances in results:
            confusion += own_confusion
            add_counts(instances, own_instances)
        classes = [
            script.id2label[number].name for number in options.evalLabels
        ]
        iou, weighted_iou, category, weighted_category = {}, {}, {}, {}
        for number, name in zip(options.evalLabels, classes, strict=True):
            iou[name] = script.getIouScoreForLabel(number, confusion, options)
            weighted_iou[name] = script.getInstanceIouScoreForLabel(
                number, confusion, instances, options
            )
        for name in script.category2labels:
            category[name] = script.getIouScoreForCategory(
                name, confusion, options
            )
            weighted_category[name] = script.getInstanceIouScoreForCategory(
                name, confusion, instances, options
            )
        scores = dict(
            mIoU=iou,
            iIoU=weighted_iou,
            mIoU_category=category,
            iIoU_category=weighted_category,
        )
        return {
            name: 100 * script.getScoreAverage(own, options)
            for name, own in scores.items()
        }


def read_instances(path: str) -> dict[int, dict]:
    """Return the regions of an official instance PNG: number -> RLE.

    The number of a single object is 1000 * class + count, of everything else
    the class.
    """
    with Image.open(path) as image:
        numbers = np.array(image).astype(np.int32)
    return encode_labels(numbers, void=-1)


def class_of(number: int) -> int:
    """Return the class of a region in an official instance PNG."""
    return number if number < 1000 else number // 1000


def shared_pixels(masks: list[dict], others: list[dict]) -> np.ndarray:
    """Return how many pixels masks share, np.int64 (M, N).

    Args:
        masks (list[dict]): M run lengths.
        others (list[dict]): N run lengths.
    """
    if not masks or not others:
        return np.zeros((len(masks), len(others)), np.int64)
    # With a crowd, IoU is the share of the first mask that both cover: times
    # its area a whole number, which rounding restores.
    share = coco_mask().iou(masks, others, [True] * len(others))
    area = np.array([rle_area(mask) for mask in masks])
    return np.rint(share * area[:, None]).astype(np.int64)


def match_class(
    objects: dict[int, dict],
    masks: list[dict],
    scores: list[float],
    in_void: list[int],
) -> tuple[list[dict], list[dict]]:
    """Say which predictions and objects of a class share pixels.

    Args:
        objects (dict[int, dict]): Number -> RLE.
        masks (list[dict]): RLE of each prediction. Empty ones are left out.
        scores (list[float]): Score of each prediction.
        in_void (list[int]): Pixels of each that do not count.

    Returns:
        tuple[list[dict], list[dict]]: Objects with ``matchedPred`` and
        predictions with ``matchedGt``, by the keys of the official script.
    """
    found = [
        dict(pixelCount=rle_area(m), confidence=score, voidIntersection=void)
        for m, score, void in zip(masks, scores, in_void, strict=True)
    ]
    there = [
        dict(instID=number, pixelCount=rle_area(rle), medDist=-1, distConf=0.0)
        for number, rle in objects.items()
    ]
    shared = shared_pixels(masks, list(objects.values()))  # (M, N)
    matched_truth = [
        dict(own, matchedPred=_touching(found, shared[:, place]))
        for place, own in enumerate(there)
    ]
    matched = [
        dict(own, matchedGt=_touching(there, shared[row]))
        for row, own in enumerate(found)
        if own['pixelCount']
    ]
    return matched_truth, matched


def _touching(others: list[dict], counts: np.ndarray) -> list[dict]:
    """Return those that share pixels, with their number."""
    return [
        dict(other, intersection=count)
        for other, count in zip(others, counts.tolist(), strict=True)
        if count
    ]


def add_counts(total: dict, part: dict) -> None:
    """Add the numbers in nested dictionaries of equal keys in place."""
    for key, value in part.items():
        if isinstance(value, dict):
            add_counts(total[key], value)
        elif isinstance(value, float):
            total[key] += value


@contextlib.contextmanager
def numpy_with_in1d() -> Iterator[None]:
    """Give NumPy a function that the script calls and NumPy 2.4 lacks."""
    if hasattr(np, 'in1d'):
        yield
        return
    np.in1d = np.isin
    try:
        yield
    finally:
        del np.in1d
