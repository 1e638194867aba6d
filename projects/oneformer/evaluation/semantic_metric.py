"""Mean intersection over union of the semantic result."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable
from torch import Tensor

from ..errors import InputError
from ..file_writing import write_png
from ..tasks import ignore_index as usual_ignore_index
from .result_files import check_outputs, result_name
from .samples import check_result, check_sizes, check_truth

AVERAGES = ('either', 'truth')


@METRICS.register_module()
class SemanticIoU(BaseMetric):
    """mIoU, mAcc and aAcc from a confusion matrix of integers.

    For each image only the pairs of labels that occur are stored, with their
    number of pixels. A pixel whose ground truth is ``ignore_index`` does not
    count. Metrics are in percent, NaN if there is nothing to average.

    ``mIoU`` and ``mAcc`` are means over classes, ``aAcc`` is the share of
    correct pixels.

    Args:
        average (str): The classes that ``mIoU`` is the mean of: those in
            ground truth or prediction ('either', as in the reference and
            mmseg: a class that is only predicted counts as 0), or those in the
            ground truth ('truth', as in later versions of detectron2). The
            latter is for a data set with only some of the classes of the
            model: predictions of the others then cost pixels, but do not add
            classes with an IoU of 0.
        classwise (bool): Also IoU of each class, as ``IoU_{name}``.
        ignore_index (int, optional): Ground truth that does not count; by
            default 255, or 65535 with more than 255 classes.
        outfile_prefix (str, optional): Also write the predictions as PNGs
            with one channel into ``{outfile_prefix}.semantic/``.
        file_labels (Sequence[int], optional): What to write there for each
            class, by default its label.
        format_only (bool): Only write files; no ground truth is needed.
        collect_device (str): Where results of all processes are gathered.
        prefix (str, optional): Prefix of the metric names.

    Raises:
        ValueError: If ``average`` is unknown, or ``format_only`` is set
            without ``outfile_prefix``.
    """

    default_prefix = 'semantic'

    def __init__(
        self,
        average: str = 'either',
        classwise: bool = False,
        ignore_index: int | None = None,
        outfile_prefix: str | None = None,
        file_labels: Sequence[int] | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if average not in AVERAGES:
            raise InputError(
                f'Expected average to be one of {AVERAGES}, got {average!r}.'
            )
        check_outputs(outfile_prefix, format_only)
        self.average = average
        self.classwise = classwise
        self.ignore_index = ignore_index
        self.outfile_prefix = outfile_prefix
        self.file_labels = file_labels
        self.format_only = format_only
        # Of the last evaluation, (K, K + 1), see count_confusion.
        self.confusion: np.ndarray | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``pred_sem_seg`` and
                ``gt_sem_seg``.

        Raises:
            ValueError: If a sample lacks one of them, they differ in size,
                or the ground truth has a label that is no class.
        """
        for sample in data_samples:
            check_result(sample, 'semantic')
            predicted = sample['pred_sem_seg']['sem_seg'][0]  # (H, W)
            if self.outfile_prefix:
                name = result_name(sample, self.dataset_meta)
                write_png(
                    f'{self.outfile_prefix}.semantic/{name}.png',
                    self.draw(predicted.cpu().numpy()),
                )
            counts = None
            if not self.format_only:
                check_truth(sample, 'gt_sem_seg')
                truth = sample['gt_sem_seg']['sem_seg'][0]
                check_sizes(sample, predicted.shape, truth.shape)
                counts = self.count(sample, truth, predicted)
            self.results.append(counts)

    def count(
        self, sample: dict, truth: Tensor, predicted: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the confusions in an image, and how many pixels each has."""
        num_classes = len(self.dataset_meta['classes'])
        ignored = self.ignore_index
        if ignored is None:
            ignored = usual_ignore_index(num_classes)
        try:
            return count_confusion(
                truth.to(predicted.device), predicted, num_classes, ignored
            )
        except ValueError as error:
            raise InputError(
                f'Image {sample.get("img_path")}: {error}'
            ) from error

    def draw(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels of a result file, np.uint8 or np.uint16 (H, W)."""
        numbers = self.file_labels
        if numbers is None:
            numbers = range(len(self.dataset_meta['classes']))
        table = np.array(numbers)
        return table.astype(np.min_scalar_type(table.max()))[labels]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return mIoU, mAcc and aAcc in percent, and print all classes."""
        if self.format_only:
            return {}
        classes = self.dataset_meta['classes']
        self.confusion = confusion_matrix(results, len(classes))
        scores = class_scores(self.confusion)
        in_truth = ~np.isnan(scores['acc'])
        averaged = in_truth if self.average == 'truth' else slice(None)
        right = np.trace(self.confusion)
        metrics = dict(
            mIoU=_mean(scores['iou'][averaged]),
            mAcc=_mean(scores['acc']),
            aAcc=100 * right / max(self.confusion.sum(), 1)
            if in_truth.any()
            else np.nan,
        )
        rows = [
            [name, *(f'{value:.2f}' for value in values)]
            for name, *values in zip(
                classes, 100 * scores['iou'], 100 * scores['acc'], strict=True
            )
        ]
        table = AsciiTable([['class', 'IoU', 'Acc'], *rows]).table
        print_log(f'Semantic results (%):\n{table}', logger='current')
        if self.classwise:
            for name, iou in zip(classes, scores['iou'], strict=True):
                metrics[f'IoU_{name}'] = 100 * iou
        return {name: float(value) for name, value in metrics.items()}


def count_confusion(
    truth: Tensor, predicted: Tensor, num_classes: int, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count which label is taken for which.

    Args:
        truth (Tensor): Labels, or ``ignore_index``, (H, W).
        predicted (Tensor): Labels; what is no class is ``num_classes`` from
            here on, (H, W).
        num_classes (int): Number of classes, K.
        ignore_index (int): Ground truth that does not count.

    Returns:
        tuple[np.ndarray, np.ndarray]: The pairs that occur, as truth *
        (K + 1) + prediction, and the pixels of each, np.int64.

    Raises:
        ValueError: If ``truth`` has a label that is no class.
    """
    counted = truth != ignore_index
    truth = truth.long()
    truth = truth.where(counted, truth.new_tensor(0))
    lowest, highest = (int(label) for label in truth.aminmax())
    if lowest < 0 or highest >= num_classes:
        raise InputError(
            f'the semantic ground truth has labels from {lowest} to '
            f'{highest}: expected 0 to {num_classes - 1}, or {ignore_index} '
            'for what does not count.'
        )
    # To count all pixels, and to drop the row of those that do not count, is
    # faster than to pick the others.
    truth = truth.where(counted, truth.new_tensor(num_classes))
    known = (predicted >= 0) & (predicted < num_classes)
    predicted = predicted.long().where(known, truth.new_tensor(num_classes))
    columns = num_classes + 1
    counts = torch.bincount(
        (truth * columns + predicted).flatten(), minlength=columns**2
    )
    counts = counts[: num_classes * columns].cpu()
    pairs = counts.nonzero()[:, 0]
    return pairs.numpy(), counts[pairs].numpy()


def confusion_matrix(
    results: Sequence[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> np.ndarray:
    """Add up what :func:`count_confusion` found.

    Returns:
        np.ndarray: Pixels by ground truth and prediction, np.int64
        (K, K + 1); the last column is of predictions that are no class.
    """
    confusion = np.zeros(num_classes * (num_classes + 1), np.int64)
    for pairs, counts in results:
        confusion[pairs] += counts
    return confusion.reshape(num_classes, num_classes + 1)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return IoU and accuracy of each class, fractions, NaN of nothing.

    Args:
        confusion (np.ndarray): See :func:`confusion_matrix`.
    """
    right = confusion.diagonal()
    truth = confusion.sum(1)
    either = truth + confusion.sum(0)[:-1] - right
    with np.errstate(invalid='ignore'):
        return dict(iou=right / either, acc=right / truth)


def _mean(scores: np.ndarray) -> float:
    """Return the mean in percent, of what is not NaN."""
    scores = scores[~np.isnan(scores)]
    return 100 * scores.mean() if len(scores) else np.nan
