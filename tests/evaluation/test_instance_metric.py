"""Mask AP, against pycocotools fed by hand."""

import json

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from projects.oneformer.datasets import EvalTargets
from projects.oneformer.evaluation import InstanceAP

CLASSES = ('cat', 'sky', 'dog')  # labels 0, 1, 2
THINGS = (0, 2)
META = dict(classes=CLASSES, thing_classes=('cat', 'dog'))
SIZE = 128
NAMES = (
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR@1', 'AR@10', 'AR@100'),
)
# Both count the same matches; means may be summed up in another order.
SUMS = dict(abs=1e-9)


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
    metric = InstanceAP(**options)
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
        f'instance/segm_{name}': float(value)
        for name, value in zip(NAMES, evaluation.stats[:9], strict=True)
    }


def random_images(seed: int, number: int = 4) -> list[tuple]:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(number):
        truth = random_truth(rng)
        pictures.append((truth, random_predictions(rng, truth)))
    return pictures


@pytest.mark.parametrize('seed', range(8))
def test_ap_is_that_of_pycocotools(seed):
    pictures = random_images(seed)
    expected = expected_of(pictures)
    assert evaluate(pictures) == pytest.approx(expected, **SUMS)
    assert 0 < expected['instance/segm_mAP'] < 1


def test_objects_are_sized_by_their_mask_not_by_their_box():
    mask = np.eye(SIZE, dtype=bool)  # small in a large box
    pictures = [([(mask, 0, False)], [(mask, 0, 0.9)])]
    found = evaluate(pictures)
    # pycocotools divides by a little more than there is.
    assert found['instance/segm_mAP'] == pytest.approx(1, abs=1e-9)
    assert found['instance/segm_mAP_s'] == pytest.approx(1, abs=1e-9)
    assert found['instance/segm_mAP_m'] == -1
    assert found['instance/segm_mAP_l'] == -1


def test_at_most_100_predictions_of_an_image_count():
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
        for truth, _ in random_images(5)
    ]
    found = evaluate(pictures)
    assert found['instance/segm_mAP'] == pytest.approx(1, abs=1e-9)
    assert found['instance/segm_mAP_75'] == pytest.approx(1, abs=1e-9)


def test_the_names_of_images_may_be_text():
    pictures = random_images(2)
    names = [f'ADE_val_{number:08d}' for number in (3, 1, 44, 2)]
    assert evaluate(pictures, names) == evaluate(pictures)


def test_a_crowd_is_neither_found_nor_missed():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    crowd = np.roll(mask, 60, 0)
    truth = [(mask, 0, False), (crowd, 0, True)]
    found = evaluate([(truth, [(mask, 0, 0.5), (crowd, 0, 0.9)])])
    assert found['instance/segm_mAP'] == pytest.approx(1, abs=1e-9)
    found = evaluate([(truth[:1], [(mask, 0, 0.5), (crowd, 0, 0.9)])])
    assert found['instance/segm_mAP'] == pytest.approx(0.5, abs=1e-9)


def test_no_prediction_anywhere_gives_0():
    truth = random_images(0)[1][0]
    assert any(label in THINGS for _, label, _ in truth)
    found = evaluate([(truth, [])] * 2)
    assert found['instance/segm_mAP'] == found['instance/segm_AR@100'] == 0
    # Of a size that no object has, AP stays undefined.
    assert set(found.values()) == {0, -1}


def test_without_any_thing_ap_is_undefined():
    mask = np.ones((SIZE, SIZE), bool)
    found = evaluate([([(mask, 1, False)], [(mask, 0, 0.9)])])
    assert set(found.values()) == {-1}
    assert list(found) == [f'instance/segm_{name}' for name in NAMES]


def test_a_metric_forgets_the_images_it_has_evaluated():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    other = np.roll(mask, 60, 0)
    metric = make_metric()
    for truth in (mask, other, mask):
        found = evaluate(
            [([(truth, 0, False)], [(mask, 0, 0.9)])], metric=metric
        )
        expected = 1 if truth is mask else 0
        assert found['instance/segm_mAP'] == pytest.approx(expected, abs=1e-9)


def test_a_model_that_is_not_asked_for_instances_is_told_apart():
    sample = sample_of(1, [], [])
    del sample['pred_instances']
    with pytest.raises(ValueError) as caught:
        make_metric().process({}, [sample])
    assert 'Image a.jpg has no instance result' in str(caught.value)
    assert "add 'instance' to test_cfg.tasks" in str(caught.value)


def test_a_sample_without_ground_truth_is_refused():
    sample = sample_of(1, [], [])
    del sample['instances']
    with pytest.raises(ValueError, match="has no 'instances' to compare with"):
        make_metric().process({}, [sample])


def test_a_prediction_without_pixels_counts_as_wrong():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    pictures = [
        ([(mask, 0, False)], [(mask & False, 0, 0.9), (mask, 0, 0.5)]),
        ([], [(mask & False, 0, 0.7)]),
    ]
    found = evaluate(pictures)
    assert found == pytest.approx(expected_of(pictures), **SUMS)
    assert found['instance/segm_mAP'] == pytest.approx(1 / 3, abs=1e-9)


def test_masks_may_come_as_run_lengths():
    picture = random_images(3, 1)[0]
    sample = sample_of(1, *picture)
    dense = evaluate([picture])
    masks = sample['pred_instances']['masks'].numpy()
    sample['pred_instances']['masks'] = [run_lengths(mask) for mask in masks]
    metric = make_metric()
    metric.process({}, [sample])
    assert metric.evaluate(1) == dense


def test_boxes_are_compared_if_asked_for():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    ring = mask.copy()
    ring[1:39, 1:39] = False
    sample = sample_of(1, [(mask, 0, False)], [(ring, 0, 0.9)])
    sample['pred_instances']['bboxes'][0] = torch.tensor([0, 0, 40, 40.0])
    metric = make_metric(metric=['segm', 'bbox'])
    metric.process({}, [sample])
    found = metric.evaluate(1)
    assert found['instance/segm_mAP'] == 0
    assert found['instance/bbox_mAP'] == pytest.approx(1, abs=1e-9)


def test_ap_of_each_class_is_given_if_asked_for():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    other = np.roll(mask, 60, 0)
    picture = [(mask, 0, False), (other, 2, False)], [(mask, 0, 0.9)]
    found = evaluate([picture], metric=make_metric(classwise=True))
    assert found['instance/segm_mAP_cat'] == pytest.approx(1, abs=1e-9)
    assert found['instance/segm_mAP_dog'] == 0
    assert found['instance/segm_mAP_sky'] == -1
    assert found['instance/segm_mAP'] == pytest.approx(0.5, abs=1e-9)


# What the categories of an annotation file may look like: by name, in another
# order and with one that is no class, or by label, under other names.
CATEGORIES = dict(
    name={0: ('cat', 17), 2: ('dog', 5), None: ('bird', 1)},
    label={0: ('house cat', 0), 2: ('domestic dog', 2)},
)


def write_truth(path, pictures, key, first_id=1) -> dict:
    """Write the truth of images as COCO JSON, ids from ``first_id``."""
    categories = CATEGORIES[key]
    images, annotations = [], []
    for image_id, (truth, _) in enumerate(pictures):
        name = f'p{image_id}'
        images.append(
            dict(id=name, file_name=f'{name}.jpg', height=SIZE, width=SIZE)
        )
        for mask, label, iscrowd in truth:
            if label not in categories:
                continue
            rle = run_lengths(mask)
            annotations.append(
                dict(
                    id=first_id + len(annotations),
                    image_id=f'p{image_id}',
                    category_id=categories[label][1],
                    iscrowd=int(iscrowd),
                    area=int(mask.sum()),
                    bbox=coco_mask.toBbox(rle).tolist(),
                    segmentation=dict(rle, counts=rle['counts'].decode()),
                )
            )
    categories = [
        dict(id=number, name=name) for name, number in categories.values()
    ]
    content = dict(
        images=images, annotations=annotations, categories=categories
    )
    path.write_text(json.dumps(content))
    return content


@pytest.mark.parametrize('key', ['name', 'label'])
@pytest.mark.parametrize('first_id', [0, 1])
def test_an_annotation_file_gives_the_same(tmp_path, key, first_id):
    pictures = random_images(6)
    path = tmp_path / 'truth.json'
    write_truth(path, pictures, key, first_id)
    metric = make_metric(ann_file=str(path), category_key=key)
    for number, (_, predictions) in enumerate(pictures):
        sample = sample_of(f'p{number}', [], predictions)
        del sample['instances']
        metric.process({}, [sample])
    found = metric.evaluate(len(pictures))
    assert found == pytest.approx(expected_of(pictures), **SUMS)
    assert 0 < found['instance/segm_mAP'] < 1


def test_only_the_images_that_were_processed_count(tmp_path):
    pictures = random_images(6)
    path = tmp_path / 'truth.json'
    write_truth(path, pictures, 'name')
    metric = make_metric(ann_file=str(path))
    for number in (1, 3):
        metric.process({}, [sample_of(f'p{number}', [], pictures[number][1])])
    expected = expected_of([pictures[1], pictures[3]])
    assert metric.evaluate(2) == pytest.approx(expected, **SUMS)


@pytest.mark.parametrize(
    'numbers',
    [
        dict(area=1600, bbox=[10, 20, 40, 40]),
        dict(area=None, bbox=[10, 20, 40, 40]),
        dict(area=1600, bbox=None),
        {},
    ],
)
def test_objects_of_an_annotation_file_may_be_polygons(tmp_path, numbers):
    path = tmp_path / 'truth.json'
    content = write_truth(path, [([], [])], 'name')
    content['annotations'] = [
        dict(
            id=1,
            image_id='p0',
            category_id=17,
            **numbers,
            segmentation=[[10, 20, 50, 20, 50, 60, 10, 60]],
        )
    ]
    path.write_text(json.dumps(content))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:60, 10:50] = True
    metric = make_metric(ann_file=str(path))
    metric.process({}, [sample_of('p0', [], [(mask, 0, 0.5)])])
    assert metric.evaluate(1)['instance/segm_mAP'] == pytest.approx(1)


def test_a_class_that_the_annotation_file_lacks_is_left_out(
    tmp_path, monkeypatch
):
    path = tmp_path / 'truth.json'
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:60, 10:50] = True
    content = write_truth(path, [([(mask, 0, 0)], [])], 'name')
    content['categories'] = [
        category
        for category in content['categories']
        if category['name'] != 'dog'
    ]
    path.write_text(json.dumps(content))
    logged = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(),
        'log',
        lambda level, message: logged.append(message),
    )
    metric = make_metric(ann_file=str(path))
    metric.process({}, [sample_of('p0', [], [(mask, 0, 0.5)])])
    assert "has no categories ['dog'], by their name" in logged[0]
    assert metric.evaluate(1)['instance/segm_mAP'] == pytest.approx(1)


def test_an_annotation_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / 'truth.json'
    sample = sample_of('p0', [], [])
    with pytest.raises(FileNotFoundError, match='check ann_file of InstanceA'):
        make_metric(ann_file=str(path)).process({}, [sample])
    write_truth(path, [([], [])], 'label')
    with pytest.raises(ValueError) as caught:
        make_metric(ann_file=str(path)).process({}, [sample])
    assert "has no categories ['cat', 'dog'], by their name" in str(
        caught.value
    )
    assert "set category_key='label'" in str(caught.value)
    metric = make_metric(ann_file=str(path), category_key='label')
    with pytest.raises(ValueError, match="no image with the id 'p1'"):
        metric.process({}, [sample_of('p1', [], [])])


@pytest.mark.parametrize('source', ['labels', 'ann_file', 'category_file'])
def test_result_files_are_those_that_coco_reads(tmp_path, source):
    pictures = random_images(6)
    path = tmp_path / 'truth.json'
    truth = write_truth(path, pictures, 'name')
    options = {} if source == 'labels' else {source: str(path)}
    metric = make_metric(
        outfile_prefix=str(tmp_path / 'out/mine'), format_only=True, **options
    )
    for number, (_, predictions) in enumerate(pictures):
        sample = sample_of(f'p{number}', [], predictions)
        del sample['instances']
        metric.process({}, [sample])
    assert metric.evaluate(len(pictures)) == {}
    names = [path.name for path in (tmp_path / 'out').iterdir()]
    assert names == ['mine.segm.json']
    results = json.loads((tmp_path / 'out/mine.segm.json').read_text())
    assert len(results) == sum(len(own) for _, own in pictures)
    if source == 'labels':
        assert {own['category_id'] for own in results} == {0, 2}
        return
    for own in results:  # pycocotools knows no id 0 and no text as id
        own['image_id'] = int(own['image_id'][1:]) + 1
    for own in truth['images']:
        own['id'] = int(own['id'][1:]) + 1
    for own in truth['annotations']:
        own['image_id'] = int(own['image_id'][1:]) + 1
    coco = COCO()
    coco.dataset = dict(truth, info={})
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = expected_of(pictures)['instance/segm_mAP']
    assert evaluation.stats[0] == pytest.approx(expected, **SUMS)
    assert expected > 0


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got \\['mask'\\]"):
        InstanceAP(metric='mask')
    with pytest.raises(ValueError, match="got 'id'"):
        InstanceAP(category_key='id')
    with pytest.raises(ValueError, match='format_only needs outfile_prefix'):
        InstanceAP(format_only=True)


def test_a_result_of_another_size_is_refused():
    mask = np.zeros((SIZE, SIZE), bool)
    sample = sample_of(1, [], [(mask, 0, 0.5)])
    sample['ori_shape'] = (SIZE, SIZE + 1)
    with pytest.raises(ValueError, match=r'is \(128, 128\), its ground truth'):
        make_metric().process({}, [sample])
