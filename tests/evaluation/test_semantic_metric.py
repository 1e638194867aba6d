"""mIoU, against mmseg and against pixels counted one by one."""

import sys
import warnings

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from PIL import Image

from projects.oneformer.datasets import EvalTargets
from projects.oneformer.evaluation import SemanticIoU

CLASSES = ('a', 'b', 'c', 'd', 'e')
VOID = 255


def sample_of(truth: np.ndarray, predicted: np.ndarray, name='x') -> dict:
    """A sample as the evaluator hands it over."""
    return dict(
        img_path=f'some/{name}.jpg',
        gt_sem_seg=dict(
            sem_seg=torch.from_numpy(truth.astype(np.int32))[None]
        ),
        pred_sem_seg=dict(sem_seg=torch.from_numpy(predicted)[None].long()),
    )


def make_metric(**options) -> SemanticIoU:
    metric = SemanticIoU(**options)
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def evaluate(pairs: list[tuple], **options) -> dict[str, float]:
    metric = make_metric(**options)
    metric.process({}, [sample_of(*pair) for pair in pairs])
    found = metric.evaluate(len(pairs))
    return {key.removeprefix('semantic/'): own for key, own in found.items()}


def by_mmseg(pairs: list[tuple]) -> dict[str, float]:
    """The same by mmseg, which rounds to two digits."""
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(
        {},
        [
            dict(
                pred_sem_seg=dict(data=torch.from_numpy(predicted)[None]),
                gt_sem_seg=dict(
                    data=torch.from_numpy(truth.astype(np.int64))[None]
                ),
            )
            for truth, predicted in pairs
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # mean of nothing
        return metric.evaluate(len(pairs))


def random_pairs(rng) -> list[tuple]:
    """Images of several sizes, one of them void, one without a class."""
    pairs = []
    for _ in range(4):
        size = rng.integers(3, 12, 2)
        truth = rng.choice([0, 1, 2, VOID], size)
        noise = rng.random(size) < 0.3
        # Class 4 is predicted and never there, class 3 neither.
        predicted = np.where(noise, rng.choice([0, 1, 2, 4], size), truth)
        pairs.append((truth, np.where(predicted == VOID, 0, predicted)))
    pairs.append((np.full((3, 5), VOID), rng.integers(0, 5, (3, 5))))
    return pairs


@pytest.mark.parametrize('seed', range(8))
def test_miou_is_that_of_mmseg(seed):
    pairs = random_pairs(np.random.default_rng(seed))
    found, expected = evaluate(pairs), by_mmseg(pairs)
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert found[name] == pytest.approx(expected[name], abs=0.006)
    assert 20 < found['mIoU'] < 80


@pytest.mark.parametrize('seed', range(4))
def test_miou_is_that_of_a_confusion_matrix(seed):
    pairs = random_pairs(np.random.default_rng(seed))
    confusion = np.zeros((5, 5), int)
    for truth, predicted in pairs:
        for own, guess in zip(truth.flat, predicted.flat, strict=True):
            if own != VOID:
                confusion[own, guess] += 1
    right, there = confusion.diagonal(), confusion.sum(1)
    either = there + confusion.sum(0) - right
    found = evaluate(pairs)
    assert found['mIoU'] == pytest.approx(
        100 * np.mean(right[either > 0] / either[either > 0])
    )
    assert found['mAcc'] == pytest.approx(
        100 * np.mean(right[there > 0] / there[there > 0])
    )
    assert found['aAcc'] == pytest.approx(100 * right.sum() / there.sum())
    found = evaluate(pairs, average='truth')
    assert found['mIoU'] == pytest.approx(
        100 * np.mean(right[there > 0] / either[there > 0])
    )


def test_miou_by_hand():
    truth = np.array([[0, 0, 1, VOID]])
    # a: 1 of 2, b: 1 of 2 (one taken from a), c: 0 of nothing; void is free.
    found = evaluate([(truth, np.array([[0, 1, 1, 2]]))])
    assert found == dict(mIoU=50, mAcc=75, aAcc=pytest.approx(200 / 3))
    # Now c is predicted on b: a 1/2, b 0/2, c 0/1.
    pair = truth, np.array([[0, 1, 2, 0]])
    assert evaluate([pair])['mIoU'] == pytest.approx(100 / 6)
    assert evaluate([pair], average='truth')['mIoU'] == pytest.approx(25)


def test_perfect_predictions_give_100():
    truth = np.array([[0, 1, 2], [3, 4, VOID]])
    predicted = np.where(truth == VOID, 0, truth)
    assert set(evaluate([(truth, predicted)]).values()) == {100}


def test_a_void_image_changes_nothing():
    pairs = [(np.array([[0, 0, 1, VOID]]), np.array([[0, 1, 1, 2]]))]
    void = np.full((1, 4), VOID), np.array([[0, 1, 2, 3]])
    assert evaluate([*pairs, void]) == evaluate(pairs)
    assert np.isnan(list(evaluate([void]).values())).all()


def test_a_prediction_that_is_no_class_is_wrong():
    truth = np.array([[0, 0, 1, 1]])
    found = evaluate([(truth, np.array([[0, 255, 1, -1]]))])
    assert found == dict(mIoU=50, mAcc=50, aAcc=50)


def test_the_iou_of_each_class_is_given_if_asked_for():
    pair = np.array([[0, 0, 1, VOID]]), np.array([[0, 1, 1, 2]])
    found = evaluate([pair], classwise=True)
    assert found['IoU_a'] == found['IoU_b'] == 50
    assert np.isnan(found['IoU_c'])


def test_another_label_may_be_left_out():
    pair = np.array([[0, 0, 1, 65]]), np.array([[0, 1, 1, 2]])
    assert evaluate([pair], ignore_index=65)['mIoU'] == 50


def test_pixels_are_counted_exactly_beyond_what_float32_can_hold():
    # One image of 2**24 + 3 pixels, one wrong: float32 would lose both.
    size = 2**24 + 3
    truth = torch.zeros(1, 1, size, dtype=torch.uint8)
    predicted = torch.zeros(1, 1, size, dtype=torch.uint8)
    predicted[..., -1] = 1
    metric = make_metric()
    metric.process(
        {},
        [
            dict(
                img_path='a.jpg',
                gt_sem_seg=dict(sem_seg=truth),
                pred_sem_seg=dict(sem_seg=predicted),
            )
        ],
    )
    metric.evaluate(1)
    assert metric.confusion[0].tolist() == [size - 1, 1, 0, 0, 0, 0]


def test_what_is_kept_of_an_image_does_not_grow_with_it():
    rng = np.random.default_rng(0)
    metric = make_metric()
    truth, predicted = rng.integers(0, 5, (2, 300, 400))
    metric.process({}, [sample_of(truth, predicted)])
    pairs, counts = metric.results[0]
    assert counts.sum() == 300 * 400
    assert sum(map(sys.getsizeof, (pairs, counts))) < 1000


def test_the_truth_of_eval_targets_is_understood():
    ids = np.array([[300, 300, 7], [0, 9, 9]])
    segments = [
        dict(id=7, category=0, is_thing=True, iscrowd=False),
        dict(id=9, category=1, is_thing=True, iscrowd=True),
        dict(id=300, category=4, is_thing=False, iscrowd=False),
    ]
    results = EvalTargets()(
        dict(
            gt_seg_map=np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(
                np.uint8
            ),
            segments_info=segments,
            classes=CLASSES,
        )
    )
    predicted = np.array([[4, 4, 0], [3, 1, 1]])
    assert evaluate([(results['gt_seg_map'], predicted)])['mIoU'] == 100


@pytest.mark.parametrize('labels', [None, (7, 8, 11, 300, 12)])
def test_result_files_hold_the_labels(tmp_path, labels):
    predicted = np.array([[0, 1, 2], [3, 4, 0]])
    metric = make_metric(
        outfile_prefix=str(tmp_path / 'out/mine'),
        file_labels=labels,
        format_only=True,
    )
    sample = sample_of(predicted, predicted)
    del sample['gt_sem_seg']
    metric.process({}, [sample])
    assert metric.evaluate(1) == {}
    image = np.array(Image.open(tmp_path / 'out/mine.semantic/x.png'))
    assert image.dtype == (np.uint8 if labels is None else np.uint16)
    expected = np.array(labels or range(5))[predicted]
    assert image.tolist() == expected.tolist()


def test_images_of_one_name_have_a_file_each(tmp_path):
    metric = make_metric(outfile_prefix=str(tmp_path / 'mine'))
    metric.dataset_meta = dict(metric.dataset_meta, repeated_names=('x',))
    for number, label in enumerate((1, 2)):
        sample = sample_of(*[np.full((2, 2), label)] * 2)
        path = f'{number}/x.jpg'
        metric.process({}, [dict(sample, img_path=path, img_id=number)])
    for number, label in enumerate((1, 2)):
        found = np.array(
            Image.open(tmp_path / f'mine.semantic/x_{number}.png')
        )
        assert (found == label).all()


def test_files_do_not_keep_the_metric_from_measuring(tmp_path):
    pair = np.array([[0, 0, 1, VOID]]), np.array([[0, 1, 1, 2]])
    found = evaluate([pair], outfile_prefix=str(tmp_path / 'mine'))
    assert found['mIoU'] == 50
    assert (tmp_path / 'mine.semantic/x.png').is_file()


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got 'prediction'"):
        SemanticIoU(average='prediction')
    with pytest.raises(ValueError, match='format_only needs outfile_prefix'):
        SemanticIoU(format_only=True)


def test_samples_that_cannot_be_compared_are_refused():
    sample = sample_of(np.zeros((2, 3)), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r'is \(3, 2\), its ground truth \(2'):
        make_metric().process({}, [sample])
    for label in (5, 6, 254):
        sample = sample_of(np.full((2, 3), label), np.zeros((2, 3), int))
        with pytest.raises(ValueError, match=f'to {label}: expected 0 to 4,'):
            make_metric().process({}, [sample])
    with pytest.raises(ValueError) as caught:
        make_metric().process({}, [sample])
    assert 'Image some/x.jpg: the semantic ground truth' in str(caught.value)
    assert 'labels from 254 to 254: expected 0 to 4, or 255' in str(
        caught.value
    )
    del sample['gt_sem_seg']
    with pytest.raises(ValueError, match="has no 'gt_sem_seg' to compare"):
        make_metric().process({}, [sample])
    del sample['pred_sem_seg']
    with pytest.raises(ValueError, match='has no semantic result'):
        make_metric().process({}, [sample])


@pytest.mark.parametrize(('number', 'void'), [(255, 255), (300, 65535)])
def test_what_does_not_count_follows_the_number_of_classes(number, void):
    metric = SemanticIoU()
    metric.dataset_meta = dict(classes=[str(i) for i in range(number)])
    truth = np.array([[number - 1, number - 1, void], [7, 7, void]])
    predicted = np.array([[number - 1, number - 1, 3], [7, 5, 5]])
    metric.process({}, [sample_of(truth, predicted)])
    # Of the classes in truth or prediction one has 1, 7 has half, 5 none.
    assert metric.evaluate(1)['semantic/mIoU'] == pytest.approx(50)
