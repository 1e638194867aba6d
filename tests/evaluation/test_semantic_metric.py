"""mmdet's mIoU on our samples, against a confusion matrix."""

import warnings

import numpy as np
import pytest
import torch
from mmdet.evaluation import SemSegMetric

from projects.oneformer.datasets import EvalTargets

CLASSES = ('a', 'b', 'c', 'd', 'e')


def sample_of(labels: np.ndarray, predicted: np.ndarray, image_id=1) -> dict:
    """A sample as the evaluator hands it over; label 5 stands for void."""
    ids = (labels + 1) % 6  # segment ids, void = 0
    segments = [
        dict(id=label + 1, category=label, is_thing=False, iscrowd=False)
        for label in range(5)
    ]
    results = EvalTargets()(
        dict(
            gt_seg_map=np.stack([ids, 0 * ids, 0 * ids], -1).astype(np.uint8),
            segments_info=segments,
            classes=CLASSES,
        )
    )
    truth = torch.from_numpy(results['gt_seg_map'])[None]
    return dict(
        img_id=image_id,
        gt_sem_seg=dict(sem_seg=truth),
        pred_sem_seg=dict(
            sem_seg=torch.from_numpy(predicted)[None], ignore_index=255
        ),
    )


def evaluate(samples: list[dict]) -> dict[str, float]:
    metric = SemSegMetric(iou_metrics=['mIoU'], prefix='semantic')
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # mean of nothing
        return metric.evaluate(len(samples))


def confusion_miou(pairs: list[tuple]) -> float:
    """mIoU over the classes that are there or predicted."""
    confusion = np.zeros((5, 5), int)
    for labels, predicted in pairs:
        for label, guess in zip(labels.flat, predicted.flat, strict=True):
            if label < 5:
                confusion[label, guess] += 1
    both = confusion.diagonal()
    either = confusion.sum(0) + confusion.sum(1) - both
    return 100 * np.mean(both[either > 0] / either[either > 0])


@pytest.mark.parametrize('seed', range(5))
def test_miou_is_that_of_a_confusion_matrix(seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(3):
        labels = rng.choice([0, 1, 2, 5], (8, 9))
        noise = rng.random((8, 9)) < 0.3
        # Class 4 is predicted and never there, class 3 neither.
        predicted = np.where(noise, rng.choice([0, 1, 2, 4], (8, 9)), labels)
        pairs.append((labels, np.where(predicted == 5, 0, predicted)))
    found = evaluate([sample_of(*pair) for pair in pairs])
    assert found['semantic/mIoU'] == pytest.approx(
        confusion_miou(pairs), abs=0.006
    )
    assert 20 < found['semantic/mIoU'] < 80


def test_miou_by_hand():
    labels = np.array([[0, 0, 1, 5]])
    # a: 1 of 2, b: 1 of 2 (one taken from a), c: 0 of nothing; void is free.
    found = evaluate([sample_of(labels, np.array([[0, 1, 1, 2]]))])
    assert found['semantic/mIoU'] == 50
    # Now c is predicted on b: a 1/2, b 0/2, c 0/1.
    found = evaluate([sample_of(labels, np.array([[0, 1, 2, 0]]))])
    assert found['semantic/mIoU'] == pytest.approx(100 / 6, abs=0.006)


def test_perfect_predictions_give_100():
    labels = np.array([[0, 1, 2], [3, 4, 5]])
    predicted = np.where(labels == 5, 0, labels)
    found = evaluate([sample_of(labels, predicted, 'ADE_val_00000001')])
    assert found['semantic/mIoU'] == 100


def test_a_void_picture_changes_nothing():
    labels = np.array([[0, 0, 1, 5]])
    samples = [sample_of(labels, np.array([[0, 1, 1, 2]]))]
    void = np.full((1, 4), 5)
    samples.append(sample_of(void, np.array([[0, 1, 2, 3]])))
    assert evaluate(samples)['semantic/mIoU'] == 50
