"""Panoptic quality, against the protocol of COCO written out."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import EvalTargets
from projects.oneformer.evaluation import PanopticQuality
from projects.oneformer.evaluation.panoptic_metric import encode_segments

NUM_CLASSES = 4
VOID = NUM_CLASSES  # of predictions
META = dict(
    classes=('cat', 'dog', 'sky', 'grass'), thing_classes=('cat', 'dog')
)


def sample_of(
    ids: np.ndarray, segments: list[dict], panoptic: np.ndarray
) -> dict:
    """A sample as the evaluator hands it to a metric."""
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    results = EvalTargets()(
        dict(gt_seg_map=coded, segments_info=segments, classes=META['classes'])
    )
    return dict(
        img_path='a.jpg',
        segments_info=results['segments_info'],
        pred_panoptic_seg=dict(sem_seg=torch.from_numpy(panoptic)[None]),
    )


def segment(number: int, label: int, iscrowd: bool = False) -> dict:
    return dict(id=number, category=label, is_thing=label < 2, iscrowd=iscrowd)


def evaluate(samples: list[dict], meta: dict = META) -> dict[str, float]:
    metric = PanopticQuality()
    metric.dataset_meta = meta
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def protocol(images: list[tuple]) -> dict[str, float]:
    """PQ by its definition, with the rules of COCO for void and crowds.

    Args:
        images (list[tuple]): Ids (H, W), their segments, and the predicted
            class + 1000 * instance (H, W).
    """
    true_pos, false_pos, false_neg = Counter(), Counter(), Counter()
    iou_sum = Counter()
    for ids, segments, panoptic in images:
        truth = {s['id']: s for s in segments if (ids == s['id']).any()}
        void = ~np.isin(ids, list(truth))
        predicted = {
            int(code): int(code) % 1000
            for code in np.unique(panoptic)
            if code != VOID
        }
        matched = set()
        for number, own in truth.items():
            for code, label in predicted.items():
                if own['iscrowd'] or own['category'] != label:
                    continue
                there, found = ids == number, panoptic == code
                both = (there & found).sum()
                # Predicted pixels on void count neither way.
                union = (there | found).sum() - (void & found).sum()
                if both / union > 0.5:
                    true_pos[label] += 1
                    iou_sum[label] += both / union
                    matched |= {('truth', number), ('predicted', code)}
        crowds = {}
        for number, own in truth.items():
            if own['iscrowd']:
                # One crowd per class: the last one, as panopticapi has it.
                crowds[own['category']] = ids == number
            elif ('truth', number) not in matched:
                false_neg[own['category']] += 1
        for code, label in predicted.items():
            if ('predicted', code) in matched:
                continue
            found = panoptic == code
            ignored = (void & found).sum()
            if label in crowds:
                ignored += (crowds[label] & found).sum()
            if ignored / found.sum() <= 0.5:
                false_pos[label] += 1
    quality = {}
    for suffix, labels in (('', range(4)), ('_th', (0, 1)), ('_st', (2, 3))):
        parts = []
        for label in labels:
            wrong = (false_pos[label] + false_neg[label]) / 2
            if true_pos[label] + wrong == 0:
                continue
            sq = iou_sum[label] / max(true_pos[label], 1)
            rq = true_pos[label] / (true_pos[label] + wrong)
            parts.append((sq * rq, sq, rq))
        means = np.mean(parts, axis=0) if parts else [np.nan] * 3
        for name, value in zip(('PQ', 'SQ', 'RQ'), means, strict=True):
            quality[f'panoptic/{name}{suffix}'] = 100 * value
    return quality


def random_rectangles(rng, most: int) -> np.ndarray:
    """A map of overlaid rectangles with numbers from 1, 0 elsewhere."""
    ids = np.zeros((9, 12), int)
    for number in range(1, rng.integers(most + 1) + 1):
        top, left = rng.integers(8), rng.integers(11)
        height, width = rng.integers(1, 8), rng.integers(1, 9)
        ids[top : top + height, left : left + width] = number
    return ids


def random_image(rng) -> tuple:
    """Truth with void and crowds, and a prediction that resembles it."""
    ids = random_rectangles(rng, 7)
    segments = [
        segment(number, int(rng.integers(4)), bool(rng.random() < 0.25))
        for number in range(1, 8)
    ]
    if rng.random() < 0.15:  # nothing annotated
        segments = []
    guess = random_rectangles(rng, 5)
    labels = rng.integers(4, size=8)
    if rng.random() < 0.75:
        noise = rng.random(ids.shape) < rng.uniform(0, 0.4)
        guess = np.where(noise, 0, ids)
        right = rng.random(8) < 0.8
        for own in segments:
            if right[own['id']]:
                labels[own['id']] = own['category']
    panoptic = np.full(ids.shape, VOID)
    if rng.random() < 0.9:  # else nothing is predicted
        for number in range(1, 8):
            # The segments of one class of stuff are one segment.
            own = labels[number]
            code = own + 1000 * number if own < 2 else own
            panoptic[guess == number] = code
    return ids, segments, panoptic.astype(np.int32)


@pytest.mark.parametrize('num_images', [1, 2, 7])
def test_the_quality_is_that_of_the_protocol(num_images):
    rng = np.random.default_rng(num_images)
    seen = []
    for _ in range(80):
        images = [random_image(rng) for _ in range(num_images)]
        expected = protocol(images)
        found = evaluate([sample_of(*image) for image in images])
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
        seen.append(found['panoptic/PQ'])
    assert np.nanmax(seen) > np.nanmin(seen)


def by_hand() -> tuple:
    """3 x 4 pixels: a cat 1, sky 2, and a crowd of dogs 3; 0 is void."""
    ids = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [3, 3, 0, 0]])
    segments = [segment(1, 0), segment(2, 2), segment(3, 1, True)]
    return ids, segments


def test_a_match_needs_more_than_half():
    ids, segments = by_hand()
    panoptic = np.array([[4, 4, 1000, 2], [4, 4, 1000, 2], [4, 4, 4, 4]])
    # The cat is found by 2 of 6 pixels: missed, and a false cat.
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/PQ_th'] == 0
    assert found['panoptic/PQ_st'] == pytest.approx(100)
    assert found['panoptic/PQ'] == pytest.approx(50)
    panoptic[0, 0:2] = 1000
    # 4 of 6.
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/SQ_th'] == pytest.approx(100 * 4 / 6)
    assert found['panoptic/RQ_th'] == 100
    # Exactly half is no match.
    panoptic[0, 0] = 4
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/RQ_th'] == 0


def test_pixels_on_void_count_neither_for_nor_against():
    ids, segments = by_hand()
    panoptic = np.array(
        [[1000, 1000, 1000, 2], [1000, 1000, 1000, 2], [4, 4, 1000, 2]]
    )
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/PQ'] == pytest.approx(100)


def test_a_prediction_on_a_crowd_of_its_class_is_ignored():
    ids, segments = by_hand()
    panoptic = np.array(
        [[1000, 1000, 1000, 2], [1000, 1000, 1000, 2], [1001, 1001, 4, 4]]
    )
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/PQ_th'] == pytest.approx(100)
    # As grass it is wrong, which halves stuff: sky 100, grass 0.
    panoptic[2, :2] = 3
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/PQ_st'] == pytest.approx(50)


def test_a_prediction_on_void_is_ignored():
    ids, segments = by_hand()
    panoptic = np.array(
        [[1000, 1000, 1000, 2], [1000, 1000, 1000, 2], [4, 4, 1001, 1001]]
    )
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert found['panoptic/PQ'] == pytest.approx(100)


def test_perfect_predictions_give_100():
    rng = np.random.default_rng(3)
    samples = []
    for _ in range(5):
        ids = random_rectangles(rng, 7)
        # Two classes of each kind, stuff at most once.
        labels = [None, 0, 1, 2, 3, 0, 1, 0]
        segments = [segment(n, labels[n]) for n in range(1, 8)]
        panoptic = np.full(ids.shape, VOID)
        for number in range(1, 8):
            label = labels[number]
            code = label + 1000 * number if label < 2 else label
            panoptic[ids == number] = code
        samples.append(sample_of(ids, segments, panoptic))
    assert evaluate(samples) == pytest.approx(
        {
            f'panoptic/{name}{suffix}': 100
            for suffix in ('', '_th', '_st')
            for name in ('PQ', 'SQ', 'RQ')
        }
    )


def test_no_prediction_gives_0():
    ids, segments = by_hand()
    panoptic = np.full(ids.shape, VOID)
    found = evaluate([sample_of(ids, segments, panoptic)])
    assert set(found.values()) == {0}


def test_the_quality_of_stuff_is_undefined_where_there_is_none():
    ids, segments = by_hand()
    panoptic = np.where(ids == 1, 1000, VOID)
    found = evaluate([sample_of(ids, segments[:1], panoptic)])
    assert found['panoptic/PQ'] == found['panoptic/PQ_th'] == 100
    assert np.isnan(found['panoptic/PQ_st'])


def test_nothing_anywhere_leaves_the_quality_undefined():
    ids = np.zeros((2, 3), int)
    found = evaluate([sample_of(ids, [], np.full((2, 3), VOID))])
    assert len(found) == 9
    assert np.isnan(list(found.values())).all()


def test_images_may_differ_in_size():
    ids, segments = by_hand()
    samples = [
        sample_of(ids, segments, np.where(ids == 1, 1000, VOID)),
        sample_of(ids.T, segments, np.where(ids.T == 1, 2000, VOID)),
    ]
    assert evaluate(samples)['panoptic/PQ_th'] == pytest.approx(100)


def test_a_metric_starts_over_after_each_evaluation():
    ids, segments = by_hand()
    metric = PanopticQuality(prefix='mine')
    metric.dataset_meta = META
    for panoptic, quality in ((np.where(ids == 1, 1000, VOID), 100), (ids, 0)):
        metric.process({}, [sample_of(ids, segments, panoptic)])
        assert metric.evaluate(1)['mine/PQ_th'] == pytest.approx(quality)


def test_predictions_are_encoded_by_their_class_and_instance():
    panoptic = np.array([[4, 3, 1001], [2001, 2001, 3]], np.int32)
    segments = encode_segments(panoptic, NUM_CLASSES)
    assert [s['id'] for s in segments] == [1, 2, 3]
    assert [s['category_id'] for s in segments] == [3, 1, 1]
    assert [s['area'] for s in segments] == [2, 1, 2]
    for own, code in zip(segments, (3, 1001, 2001), strict=True):
        mask = coco_mask.decode(own['segmentation'])
        assert mask.tolist() == (panoptic == code).tolist()


def test_a_model_that_is_not_asked_for_panoptic_is_told_apart():
    ids, segments = by_hand()
    sample = sample_of(ids, segments, ids)
    del sample['pred_panoptic_seg']
    with pytest.raises(ValueError) as caught:
        evaluate([sample])
    assert 'Image a.jpg has no panoptic result' in str(caught.value)
    assert "add 'panoptic' to test_cfg.tasks" in str(caught.value)


def test_the_quality_of_each_class_is_given_if_asked_for():
    ids, segments = by_hand()
    metric = PanopticQuality(classwise=True)
    metric.dataset_meta = META
    panoptic = np.where(ids == 1, 1000, VOID)
    metric.process({}, [sample_of(ids, segments, panoptic)])
    found = metric.evaluate(1)
    assert found['panoptic/PQ_cat'] == pytest.approx(100)
    assert found['panoptic/PQ_sky'] == 0
    assert np.isnan(found['panoptic/PQ_grass'])


@pytest.mark.parametrize('with_ids', [False, True])
def test_result_files_are_in_the_coco_layout(tmp_path, with_ids):
    ids, segments = by_hand()
    panoptic = np.array([[4, 3, 1001, 2], [2001, 2001, 3, 4], [4, 2, 2, 3]])
    sample = dict(sample_of(ids, segments, panoptic), img_id='first')
    truth = tmp_path / 'truth.json'
    names = ('grass', 'sky', 'dog', 'cat')
    categories = [dict(id=i, name=n) for i, n in enumerate(names, 10)]
    truth.write_text(json.dumps(dict(categories=categories)))
    metric = PanopticQuality(
        outfile_prefix=str(tmp_path / 'out/mine'),
        category_file=str(truth) if with_ids else None,
        format_only=True,
    )
    metric.dataset_meta = META
    del sample['segments_info']
    metric.process({}, [sample])
    assert metric.evaluate(1) == {}
    content = json.loads((tmp_path / 'out/mine.panoptic.json').read_text())
    own = content['annotations'][0]
    assert (own['image_id'], own['file_name']) == ('first', 'a.png')
    assert [s['area'] for s in own['segments_info']] == [3, 3, 1, 2]
    labels = [11, 10, 12, 12] if with_ids else [2, 3, 1, 1]
    assert [s['category_id'] for s in own['segments_info']] == labels
    image = np.array(Image.open(tmp_path / 'out/mine.panoptic/a.png'))
    found = image.astype(int) @ [1, 256, 65536]
    expected = [[0, 2, 3, 1], [4, 4, 2, 0], [0, 1, 1, 2]]
    assert found.tolist() == expected
    assert [s['id'] for s in own['segments_info']] == [1, 2, 3, 4]


def test_files_alone_need_a_name():
    with pytest.raises(ValueError, match='format_only needs outfile_prefix'):
        PanopticQuality(format_only=True)


def test_a_file_without_the_classes_is_refused(tmp_path):
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(dict(categories=[dict(id=1, name='cat')])))
    metric = PanopticQuality(
        outfile_prefix=str(tmp_path / 'mine'),
        category_file=str(path),
        format_only=True,
    )
    metric.dataset_meta = META
    ids, segments = by_hand()
    metric.process({}, [dict(sample_of(ids, segments, ids), img_id=1)])
    with pytest.raises(ValueError, match="no categories \\['dog', 'sky'"):
        metric.evaluate(1)


def test_a_result_of_another_size_is_refused():
    ids, segments = by_hand()
    sample = sample_of(ids, segments, np.full((3, 5), VOID))
    with pytest.raises(ValueError, match=r'is \(3, 5\), its ground truth'):
        evaluate([sample])


def test_a_sample_without_ground_truth_is_refused():
    ids, segments = by_hand()
    sample = sample_of(ids, segments, ids)
    del sample['segments_info']
    with pytest.raises(ValueError) as caught:
        evaluate([sample])
    assert "has no 'segments_info' to compare with" in str(caught.value)
    assert 'put EvalTargets into the test pipeline' in str(caught.value)
