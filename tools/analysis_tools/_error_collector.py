"""Keeps the images of a test that a model gets most wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _error_page import embedded
from _errors import EXTRA, INEXACT, MISSED, Error, Region, find_errors, void_of
from mmengine.evaluator import BaseMetric
from pycocotools import mask as coco_mask

from projects.oneformer import drawing
from projects.oneformer.evaluation.panoptic_metric import encode_segments
from projects.oneformer.evaluation.samples import check_result, check_truth
from projects.oneformer.images import read_image
from projects.oneformer.run_lengths import encode_labels, encode_masks
from projects.oneformer.tasks import TASKS, ignore_index

COLORS = {
    MISSED: np.array([224, 32, 32]),
    EXTRA: np.array([32, 96, 240]),
    INEXACT: np.array([240, 176, 0]),
}


class ErrorCollector(BaseMetric):
    """Collects the images with the largest losses, with drawings.

    Args:
        tasks (Sequence[str]): Tasks to compare; the losses of the first one
            decide which images are kept.
        number (int): How many images are kept.
        score_thr (float): Instances with a lower score are left out.
    """

    default_prefix = 'errors'

    def __init__(
        self,
        tasks: Sequence[str] = TASKS,
        number: int = 50,
        score_thr: float = 0.3,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.number = number
        self.score_thr = score_thr
        self.cards: list[dict] = []  # of the last evaluation

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare a batch; draw the images that may be among the worst.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With results and ground truth of
                the tasks, as the metrics of the tasks read them.

        Raises:
            ValueError: If a sample lacks one of them.
        """
        for sample in data_samples:
            regions = {
                task: (self.found(sample, task), self.truth(sample, task))
                for task in self.tasks
            }
            errors = {
                task: find_errors(found, truth, self.void(truth, task, sample))
                for task, (found, truth) in regions.items()
            }
            loss = sum(error.loss for error in errors[self.tasks[0]])
            card = None
            losses = sorted(result['loss'] for result in self.results)
            if len(losses) < self.number or loss > losses[-self.number]:
                card = self.card(sample, regions, errors)
            self.results.append(dict(loss=loss, card=card))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Keep the worst images; return how many have an error."""
        worst = sorted(results, key=lambda result: -result['loss'])
        self.cards = [
            result['card'] for result in worst[: self.number] if result['card']
        ]
        wrong = sum(result['loss'] > 0 for result in results)
        return dict(images=len(results), wrong_images=wrong)

    def found(self, sample: dict, task: str) -> list[Region]:
        """Return the predicted regions of a task."""
        check_result(sample, task)
        num_classes = len(self.dataset_meta['classes'])
        if task == 'panoptic':
            codes = sample['pred_panoptic_seg']['sem_seg'][0].cpu().numpy()
            return [
                Region(own['category_id'], own['segmentation'])
                for own in encode_segments(codes, num_classes)
            ]
        if task == 'semantic':
            labels = sample['pred_sem_seg']['sem_seg'][0].cpu().numpy()
            return _regions_of(labels, num_classes)
        instances = sample['pred_instances']
        masks = instances['masks']
        if not isinstance(masks, list):
            masks = encode_masks(masks)
        regions = [
            Region(*own)
            for own in zip(
                instances['labels'].tolist(),
                masks,
                instances['scores'].tolist(),
                strict=True,
            )
            if own[2] >= self.score_thr
        ]
        return sorted(regions, key=lambda region: -region.score)

    def truth(self, sample: dict, task: str) -> list[Region]:
        """Return the annotated regions of a task."""
        if task == 'semantic':
            check_truth(sample, 'gt_sem_seg')
            labels = sample['gt_sem_seg']['sem_seg'][0].cpu().numpy()
            return _regions_of(labels, len(self.dataset_meta['classes']))
        if task == 'panoptic':
            check_truth(sample, 'segments_info')
            return [
                Region(
                    own['category'],
                    own['segmentation'],
                    crowd=bool(own['iscrowd']),
                )
                for own in sample['segments_info']
            ]
        check_truth(sample, 'instances')
        return [
            Region(
                own['bbox_label'], own['mask'], crowd=bool(own['ignore_flag'])
            )
            for own in sample['instances']
        ]

    def void(
        self, truth: list[Region], task: str, sample: dict
    ) -> dict | None:
        """Return the run lengths of what is not annotated."""
        # Around instances lies what is annotated as none.
        return (
            None
            if task == 'instance'
            else void_of(truth, *sample['ori_shape'][:2])
        )

    def card(
        self,
        sample: dict,
        regions: dict[str, tuple[list[Region], list[Region]]],
        errors: dict[str, list[Error]],
    ) -> dict:
        """Return what the page shows of an image."""
        image = np.ascontiguousarray(read_image(sample['img_path'])[..., ::-1])
        height, width = image.shape[:2]
        tasks = {}
        for task, (found, truth) in regions.items():
            tasks[task] = dict(
                truth=embedded(self.draw(image, truth)),
                found=embedded(self.draw(image, found)),
                wrong=embedded(draw_errors(image, found, truth, errors[task])),
                errors=[
                    dict(
                        kind=error.kind,
                        label=error.label,
                        loss=round(float(error.loss), 4),
                        share=error.pixels / (height * width),
                        score=None
                        if error.found is None
                        else found[error.found].score,
                    )
                    for error in errors[task]
                ],
            )
        return dict(
            name=Path(sample['img_path']).name,
            image=embedded(image),
            tasks=tasks,
        )

    def draw(self, image: np.ndarray, regions: list[Region]) -> np.ndarray:
        """Draw regions in the colours of their classes."""
        classes = self.dataset_meta['classes']
        colors = drawing.class_colors(
            len(classes), self.dataset_meta.get('palette') or ()
        )
        # The best on top.
        order = sorted(regions, key=lambda region: region.score or 0)
        numbers: dict[int, int] = {}
        drawn = []
        for region in order:
            number = numbers.get(region.label, 0)
            numbers[region.label] = number + 1
            drawn.append(
                drawing.Region(
                    coco_mask.decode(region.rle).astype(bool),
                    drawing.tint(colors[region.label], number),
                    classes[region.label],
                )
            )
        return drawing.draw_regions(image, drawn)


def _regions_of(labels: np.ndarray, num_classes: int) -> list[Region]:
    """Return one region for each class of a label map."""
    void = ignore_index(num_classes)
    labels = np.where(labels < num_classes, labels, void)
    return [
        Region(label, rle)
        for label, rle in encode_labels(labels, void).items()
    ]


def draw_errors(
    image: np.ndarray,
    found: list[Region],
    truth: list[Region],
    errors: list[Error],
) -> np.ndarray:
    """Draw what is missed (red), extra (blue) and inexact (yellow).

    Args:
        image (np.ndarray): RGB uint8 (H, W, 3).
        found (list[Region]): Predicted regions.
        truth (list[Region]): Annotated regions.
        errors (list[Error]): Of :func:`find_errors` for them.
    """
    drawn = image // 2 + 64  # paler, so that the colours stand out
    for error in reversed(errors):  # the largest on top
        masks = [
            coco_mask.decode(regions[place].rle).astype(bool)
            for regions, place in (
                (truth, error.truth),
                (found, error.found),
            )
            if place is not None
        ]
        wrong = masks[0] if len(masks) == 1 else masks[0] ^ masks[1]
        drawn[wrong] = (drawn[wrong] + 2 * COLORS[error.kind]) // 3
    return drawn
