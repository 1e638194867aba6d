"""The three metrics in one pass, as the configs put them together."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from projects.oneformer.engine.task_table_hook import task_table
from projects.oneformer.evaluation import (
    InstanceAP,
    PanopticQuality,
    SemanticIoU,
)
from tests.evaluation.perfect_results import predict


def evaluate(config, dataset, samples) -> dict[str, float]:
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for start in range(0, len(samples), 5):  # the last batch is smaller
        evaluator.process(samples[start : start + 5])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        return evaluator.evaluate(len(samples))


def headline(metrics: dict[str, float]) -> list[float]:
    return [
        metrics['panoptic/PQ'],
        metrics['panoptic/PQ_th'],
        metrics['panoptic/PQ_st'],
        100 * metrics['instance/segm_mAP'],
        metrics['semantic/mIoU'],
    ]


def test_a_perfect_model_has_100_in_all_three(config, dataset, samples):
    for sample in samples:
        predict(sample, len(dataset.metainfo['classes']))
    metrics = evaluate(config, dataset, samples)
    assert headline(metrics) == pytest.approx([100] * 5)
    assert task_table(metrics).count('100.0') == 5


def test_images_may_have_text_as_id(config, dataset, samples):
    for number, sample in enumerate(samples):
        predict(sample, len(dataset.metainfo['classes']))
        name = f'ADE_val_{number:08d}'
        sample.set_metainfo(dict(img_id=name))
    metrics = evaluate(config, dataset, samples)
    assert headline(metrics) == pytest.approx([100] * 5)


def test_each_metric_reads_the_result_of_its_own_task(
    config, dataset, samples
):
    num_classes = len(dataset.metainfo['classes'])
    for sample in samples:
        predict(sample, num_classes)
        sample.pred_panoptic_seg.sem_seg[:] = num_classes
    metrics = evaluate(config, dataset, samples)
    assert headline(metrics) == pytest.approx([0, 0, 0, 100, 100])
    for sample in samples:
        predict(sample, num_classes)
        sample.pred_instances = sample.pred_instances[:0]
    metrics = evaluate(config, dataset, samples)
    assert headline(metrics) == pytest.approx([100, 100, 100, 0, 100])
    for sample in samples:
        predict(sample, num_classes)
        sample.pred_sem_seg.sem_seg = (
            sample.pred_sem_seg.sem_seg + 1
        ) % num_classes
    metrics = evaluate(config, dataset, samples)
    assert headline(metrics) == pytest.approx([100, 100, 100, 100, 0])


def test_a_missed_thing_lowers_panoptic_and_instance_quality(
    config, dataset, samples
):
    num_classes = len(dataset.metainfo['classes'])
    for sample in samples:
        predict(sample, num_classes)
    things = sum(len(sample.pred_instances) for sample in samples)
    sample = samples[0]
    codes = sample.pred_panoptic_seg.sem_seg
    code = codes[codes >= 1000].max()
    codes[codes == code] = num_classes
    # Segments and instances come in the same order, so it is the last one.
    sample.pred_instances = sample.pred_instances[:-1]
    metrics = evaluate(config, dataset, samples)
    pq, pq_th, pq_st, ap, miou = headline(metrics)
    assert things > 20
    assert 90 < pq_th < 100
    assert pq_st == pytest.approx(100)
    assert pq == pytest.approx((pq_th + pq_st) / 2)
    assert 90 < ap < 100
    assert miou == 100


def test_no_sample_is_changed_by_the_evaluation(config, dataset, samples):
    sample = samples[0]
    predict(sample, len(dataset.metainfo['classes']))
    before = sample.clone()
    evaluate(config, dataset, [sample])
    for field in ('pred_panoptic_seg', 'pred_sem_seg'):
        found, expected = getattr(sample, field), getattr(before, field)
        assert torch.equal(found.sem_seg, expected.sem_seg)
    assert sample.segments_info == before.segments_info
    assert sample.instances == before.instances
    assert np.array_equal(
        sample.pred_instances.masks, before.pred_instances.masks
    )


def ours(dataset) -> list:
    """The metrics of this project."""
    metrics = [PanopticQuality(), InstanceAP(), SemanticIoU()]
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
    return metrics


def test_two_processes_find_what_one_finds(dataset, samples):
    for sample in samples:
        predict(sample, len(dataset.metainfo['classes']))
        # Not quite right.
        panoptic = sample.pred_panoptic_seg.sem_seg
        panoptic[:] = panoptic.roll(3, -1)
        semantic = sample.pred_sem_seg.sem_seg
        semantic[:] = semantic.roll(3, -1)
        instances = sample.pred_instances
        instances.masks = instances.masks.roll(3, -1)
    samples = [sample.to_dict() for sample in samples]
    halves = [ours(dataset) for _ in range(2)]
    for number, sample in enumerate(samples):
        for metric in halves[number % 2]:
            metric.process({}, [sample])
    for metric, *half in zip(ours(dataset), *halves, strict=True):
        for sample in samples:
            metric.process({}, [sample])
        expected = metric.evaluate(len(samples))
        assert 0 < list(expected.values())[0] < 100
        # What mmengine does: images by turns, those at the end doubled.
        gathered = [pickle.loads(pickle.dumps(own.results)) for own in half]
        images = [own for pair in zip(*gathered, strict=True) for own in pair]
        images = [*images, images[0]][: len(samples)]
        found = metric.compute_metrics(images)
        assert list(expected.values()) == list(found.values())


def test_nothing_of_the_size_of_a_image_is_kept(dataset, samples):
    predict(samples[0], len(dataset.metainfo['classes']))
    sample = samples[0].to_dict()
    pixels = sample['pred_sem_seg']['sem_seg'].numel()
    for metric in ours(dataset):
        metric.process({}, [sample])
        kept = len(pickle.dumps(metric.results))
        # The instances alone come as ``len(masks) * pixels`` bytes.
        assert kept < pixels
