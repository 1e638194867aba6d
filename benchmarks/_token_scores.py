"""Scores of a test split: every result under every task token."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from _evidence_results import SCORES
from pycocotools import mask as coco_mask

from projects.oneformer.evaluation import SemanticIoU
from projects.oneformer.tasks import TASKS
from projects.oneformer.visualization import (
    draw_result,
    ground_truth_sample,
    image_sheet,
)


class Sheet:
    """Images with their ground truth and the result of each token.

    Args:
        metainfo (dict): Of the dataset.
        size (int): Number of images.
    """

    def __init__(self, metainfo: dict, size: int) -> None:
        self.metainfo = metainfo
        self.size = size
        self.rows: dict[str, list[np.ndarray]] = {}
        self.headers = ['image', 'ground truth']

    def add(self, token: str, samples: Sequence) -> None:
        """Draw the panoptic results of a batch, the first images only."""
        title = f'{token} token'
        if title not in self.headers:
            self.headers.append(title)
        for sample in samples:
            path = sample.img_path
            image = mmcv.imread(path, channel_order='rgb', backend='pillow')
            if path not in self.rows and len(self.rows) < self.size:
                truth = self.draw(image, truth_of(sample, self.metainfo))
                self.rows[path] = [image, truth]
            if path in self.rows:
                self.rows[path].append(self.draw(image, sample))

    def draw(self, image: np.ndarray, sample) -> np.ndarray:
        """Draw a panoptic result."""
        return draw_result(image, sample, 'panoptic', self.metainfo)

    def write(self, path: Path) -> None:
        """Write the sheet."""
        sheet = image_sheet(
            list(self.rows.values()), self.headers, cell_width=192
        )
        quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
        mmcv.imwrite(sheet[..., ::-1], str(path), quality)


def truth_of(sample, metainfo: dict):
    """Return a sample whose panoptic result is the ground truth."""
    ids = np.zeros(sample.ori_shape, np.int64)
    for number, segment in enumerate(sample.segments_info, 1):
        ids[coco_mask.decode(segment['segmentation']) > 0] = number
    segments = [
        dict(segment, id=number)
        for number, segment in enumerate(sample.segments_info, 1)
    ]
    return ground_truth_sample(ids, segments, len(metainfo['classes']))


def score_tokens(
    runner, tokens: Sequence[str], sheet: Sheet | None = None
) -> dict[str, dict]:
    """Measure all three results of the test split, under each token.

    Args:
        runner (Runner): With the model; its config names the test split.
        tokens (Sequence[str]): Task tokens to decode with.
        sheet (Sheet, optional): Gets the panoptic results of all tokens.

    Returns:
        dict[str, dict]: Of each token ``scores`` (percent, None where there
        is nothing to measure), ``confusion`` (pixels of the semantic result
        by ground truth and prediction, K x K) and ``confused`` (of each
        image the pixels of another class than the ground truth says, and
        those that the ground truth labels).
    """
    model = runner.model.eval()
    loader = runner.build_dataloader(runner.cfg.test_dataloader)
    evaluators = {}
    for token in tokens:
        evaluators[token] = runner.build_evaluator(runner.cfg.test_evaluator)
        evaluators[token].dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            data = model.data_preprocessor(batch, False)
            samples = data['data_samples']
            if model.tiled is None:
                pixels = model.pixel_features(data['inputs'])
            for token, evaluator in evaluators.items():
                if model.tiled is None:
                    model.segment(pixels, samples, [token], TASKS)
                else:
                    for image, sample in zip(
                        data['inputs'], samples, strict=True
                    ):
                        model.tiled.segment(
                            model, image, sample, [token], TASKS
                        )
                evaluator.process(samples, batch)
                if sheet is not None:
                    sheet.add(token, samples)
    size = len(loader.dataset)
    return {
        token: measure(evaluator, size)
        for token, evaluator in evaluators.items()
    }


def measure(evaluator, size: int) -> dict:
    """Return what one evaluator found of ``size`` images."""
    (semantic,) = [
        metric
        for metric in evaluator.metrics
        if isinstance(metric, SemanticIoU)
    ]
    columns = len(semantic.dataset_meta['classes']) + 1
    confused = []
    for pairs, counts in semantic.results:
        wrong = pairs // columns != pairs % columns
        confused.append([int(counts[wrong].sum()), int(counts.sum())])
    metrics = evaluator.evaluate(size)
    scores = {
        name: metrics[key] * (100 if name == 'AP' else 1)
        for name, key in SCORES.items()
    }
    return dict(
        scores={
            # NaN and negative numbers stand for what is undefined.
            name: round(float(score), 3) if score >= 0 else None
            for name, score in scores.items()
        },
        confusion=semantic.confusion[:, :-1].tolist(),
        confused=confused,
    )
