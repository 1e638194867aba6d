"""Mask AP, against pycocotools fed by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from projects.oneformer.datasets import EvalTargets
from projects.oneformer.evaluation import InstanceAP

CLASSES = ('cat', 'sky', 'dog')  # labels 0, 1, 2
THINGS = (0, 2)
META = dict(classes=CLASSES, thing_classes=('cat', 'dog'))
SIZE = 128
NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def disc(rng, radius: float) -> np.ndarray:
    y, x = rng.uniform(0, SIZE, 2)
    rows, columns = np.indices((SIZE, SIZE))
    # Flat ones: their boxes are far larger than they are.
    across, along = rows - y + (columns - x), rows - y - (columns - x)
    return across**2 + (4 * along) ** 2 < radius**2


def random_truth(rng) -> list[tuple[np.ndarray, int, bool]]:
    """Masks that do not overlap, their labels, and whether crowds."""
    free = np.ones((SIZE, SIZE), bool)
    segments = []
    for _ in range(rng.integers(6)):
        mask = disc(rng, rng.choice([15, 60, 150])) & free
        if mask.any():
            free &= ~mask
            label = int(rng.integers(3))
            segments.append((mask, label, bool(rng.random() < 0.2)))
    return segments


def random_predictions(rng, truth) -> list[tuple[np.ndarray, int, float]]:
    """Shifted, mislabelled and invented masks, with scores."""
    found = []
    for mask, label, _ in truth:
        for _ in range(rng.integers(3)):
            shift = rng.integers(-3, 4, 2)
            label = label if rng.random() < 0.8 else int(rng.integers(3))
            if label in THINGS:
                found.append((np.roll(mask, shift, (0, 1)), label))
    for _ in range(rng.integers(3)):
        found.append(
            (disc(rng, rng.choice([15, 60])), int(rng.choice(THINGS)))
        )
    return [(mask, label, float(rng.random())) for mask, label in found]


def sample_of(image_id, truth, predictions) -> dict:
    """A sample as the evaluator hands it to a metric."""
    ids = np.zeros((SIZE, SIZE), np.uint8)
    segments = []
    for number, (mask, label, iscrowd) in enumerate(truth, 1):
        ids[mask] = number
        segments.append(
            dict(
                id=number,
                category=label,
                is_thing=label in THINGS,
                iscrowd=iscrowd,
            )
        )
    results = EvalTargets()(
        dict(
            gt_seg_map=np.stack([ids, 0 * ids, 0 * ids], -1),
            segments_info=segments,
            classes=CLASSES,
        )
    )
    masks = np.zeros((len(predictions), SIZE, SIZE), bool)
    for mask, prediction in zip(masks, predictions, strict=True):
        mask[:] = prediction[0]
    return dict(
        img_id=image_id,
        img_path='a.jpg',
        ori_shape=(SIZE, SIZE),
        instances=results['instances'],
        pred_instances=dict(
            masks=torch.from_numpy(masks),
            bboxes=torch.zeros(len(masks), 4),
            labels=torch.tensor([p[1] for p in predictions], dtype=int),
            scores=torch.tensor([p[2] for p in predictions]),
        ),
    )


def make_metric(**options) -> InstanceAP:
    metric = InstanceAP(metric='segm', proposal_nums=(1, 10, 100), **options)
    metric.dataset_meta = META
    return metric


def evaluate(pictures: list[tuple], ids=None, metric=None) -> dict:
    metric = metric or make_metric()
    ids = ids or range(len(pictures))
    for image_id, picture in zip(ids, pictures, strict=True):
        metric.process({}, [sample_of(image_id, *picture)])
    return metric.evaluate(len(pictures))


def run_lengths(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def expected_of(pictures: list[tuple]) -> dict[str, float]:
    """The same by pycocotools alone, from masks rather than from samples."""
    images, annotations, results = [], [], []
    for image_id, (truth, predictions) in enumerate(pictures, 1):
        images.append(dict(id=image_id, height=SIZE, width=SIZE))
        for mask, label, iscrowd in truth:
            if label in THINGS:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=label,
                        iscrowd=int(iscrowd),
                        area=int(mask.sum()),
                        segmentation=run_lengths(mask),
                    )
                )
        for mask, label, score in predictions:
            results.append(
                dict(
                    image_id=image_id,
                    category_id=label,
                    # As precise as the tensors of a model.
                    score=float(np.float32(score)),
                    segmentation=run_lengths(mask),
                )
            )
    truth = COCO()
    truth.dataset = dict(
        info={},
        images=images,
        annotations=annotations,
        categories=[dict(id=label) for label in THINGS],
    )
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {
        f'instance/segm_{name}': round(float(value), 3)
        for name, value in zip(NAMES, evaluation.stats, strict=False)
    }


def random_pictures(seed: int, number: int = 4) -> list[tuple]:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(number):
        truth = random_truth(rng)
        pictures.append((truth, random_predictions(rng, truth)))
    return pictures


@pytest.mark.parametrize('seed', range(8))
def test_ap_is_that_of_pycocotools(seed):
    pictures = random_pictures(seed)
    expected = expected_of(pictures)
    assert evaluate(pictures) == expected
    assert 0 < expected['instance/segm_mAP'] < 1


def test_objects_are_sized_by_their_mask_not_by_their_box():
    mask = np.eye(SIZE, dtype=bool)  # small in a large box
    pictures = [([(mask, 0, False)], [(mask, 0, 0.9)])]
    assert evaluate(pictures) == {
        'instance/segm_mAP': 1.0,
        'instance/segm_mAP_50': 1.0,
        'instance/segm_mAP_75': 1.0,
        'instance/segm_mAP_s': 1.0,
        'instance/segm_mAP_m': -1.0,
        'instance/segm_mAP_l': -1.0,
    }


def test_at_most_100_predictions_of_a_picture_count():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    empty = np.zeros((SIZE, SIZE), bool)
    worse = [(empty, 0, 0.9)] * 100 + [(mask, 0, 0.1)]
    assert evaluate([([(mask, 0, False)], worse[1:])])[
        'instance/segm_mAP_50'
    ] == pytest.approx(0.01, abs=1e-3)
    found = evaluate([([(mask, 0, False)], worse)])
    assert found['instance/segm_mAP'] == 0
    assert found['instance/segm_mAP_50'] == 0


def test_perfect_predictions_give_1():
    pictures = [
        (truth, [(m, c, 0.5) for m, c, crowd in truth if c in THINGS])
        for truth, _ in random_pictures(5)
    ]
    found = evaluate(pictures)
    assert found['instance/segm_mAP'] == found['instance/segm_mAP_75'] == 1


def test_the_names_of_pictures_may_be_text():
    pictures = random_pictures(2)
    names = [f'ADE_val_{number:08d}' for number in (3, 1, 44, 2)]
    assert evaluate(pictures, names) == evaluate(pictures)


def test_a_crowd_is_neither_found_nor_missed():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    crowd = np.roll(mask, 60, 0)
    truth = [(mask, 0, False), (crowd, 0, True)]
    found = evaluate([(truth, [(mask, 0, 0.5), (crowd, 0, 0.9)])])
    assert found['instance/segm_mAP'] == 1
    found = evaluate([(truth[:1], [(mask, 0, 0.5), (crowd, 0, 0.9)])])
    assert found['instance/segm_mAP'] == 0.5


def test_no_prediction_anywhere_gives_0():
    truth = random_pictures(0)[1][0]
    assert any(label in THINGS for _, label, _ in truth)
    found = evaluate([(truth, [])] * 2)
    assert found == {f'instance/segm_{name}': 0.0 for name in NAMES}


def test_without_any_thing_ap_is_undefined():
    mask = np.ones((SIZE, SIZE), bool)
    found = evaluate([([(mask, 1, False)], [(mask, 0, 0.9)])])
    assert set(found.values()) == {-1}
    assert len(found) == 6


def test_a_metric_forgets_the_pictures_it_has_evaluated():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    other = np.roll(mask, 60, 0)
    metric = make_metric()
    for truth in (mask, other, mask):
        found = evaluate(
            [([(truth, 0, False)], [(mask, 0, 0.9)])], metric=metric
        )
        assert found['instance/segm_mAP'] == (truth is mask)


def test_a_model_that_is_not_asked_for_instances_is_told_apart():
    sample = sample_of(1, [], [])
    del sample['pred_instances']
    with pytest.raises(ValueError) as caught:
        make_metric().process({}, [sample])
    assert 'Picture a.jpg has no instance result' in str(caught.value)
    assert "add 'instance' to test_cfg.tasks" in str(caught.value)


def test_a_sample_without_ground_truth_is_refused():
    sample = sample_of(1, [], [])
    del sample['instances']
    with pytest.raises(ValueError, match="has no 'instances' to compare with"):
        make_metric().process({}, [sample])
