"""The metrics of mmdet and mmseg agree with ours on the same results."""

import contextlib
import io
import warnings

import pytest
from mmdet.evaluation import CocoMetric, SemSegMetric
from mmdet.structures import DetDataSample
from mmengine.evaluator import BaseMetric

from projects.oneformer.evaluation import (
    InstanceAP,
    PanopticQuality,
    SemanticIoU,
)
from tests.evaluation.perfect_results import predict


@pytest.fixture
def results(dataset, samples) -> list[DetDataSample]:
    """Results that are nearly right: masks are shifted by some pixels."""
    for shift, sample in enumerate(samples):
        predict(sample, len(dataset.metainfo['classes']))
        shift = shift % 4
        for field in ('pred_panoptic_seg', 'pred_sem_seg'):
            result = sample.get(field)
            result.sem_seg = result.sem_seg.roll(shift, -1)
        instances = sample.pred_instances
        instances.masks = instances.masks.roll(shift, -1)
    return samples


def evaluate(metric: BaseMetric, dataset, samples) -> dict[str, float]:
    """Return what a metric says, without its tables."""
    metric.dataset_meta = dataset.metainfo
    with contextlib.redirect_stdout(io.StringIO()):
        metric.process({}, [sample.to_dict() for sample in samples])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)
            metrics = metric.evaluate(len(samples))
    return {name.rpartition('/')[2]: value for name, value in metrics.items()}


def test_average_precision_is_that_of_mmdet(dataset, results):
    ours = evaluate(InstanceAP(), dataset, results)
    theirs = evaluate(CocoMetric(metric='segm'), dataset, results)
    names = ['segm_mAP', 'segm_mAP_50', 'segm_mAP_75']
    assert 0.1 < ours['segm_mAP'] < 0.95
    # mmdet rounds to three digits.
    assert [ours[name] for name in names] == pytest.approx(
        [theirs[name] for name in names], abs=6e-4
    )


def test_mean_iou_is_that_of_mmdet(dataset, results):
    ours = evaluate(SemanticIoU(), dataset, results)
    theirs = evaluate(SemSegMetric(), dataset, results)
    assert 50 < ours['mIoU'] < 99
    # mmdet rounds to two digits.
    assert ours['mIoU'] == pytest.approx(theirs['mIoU'], abs=6e-3)


def test_mean_iou_is_that_of_mmseg(dataset, results):
    mmseg = pytest.importorskip('mmseg.evaluation', reason='needs mmseg')
    ours = evaluate(SemanticIoU(), dataset, results)
    for sample in results:
        # mmseg has under "data" what mmdet and its models have as "sem_seg".
        for field in ('pred_sem_seg', 'gt_sem_seg'):
            sample.get(field).data = sample.get(field).sem_seg
    theirs = evaluate(mmseg.IoUMetric(), dataset, results)
    assert ours['mIoU'] == pytest.approx(theirs['mIoU'], abs=6e-3)


def test_panoptic_quality_is_that_of_mmdet(dataset, results):
    pytest.importorskip(
        'panopticapi', reason='needs panopticapi, which is not on PyPI'
    )
    from mmdet.evaluation import CocoPanopticMetric

    ours = evaluate(PanopticQuality(), dataset, results)
    metric = CocoPanopticMetric(
        ann_file=dataset.ann_file, seg_prefix=dataset.data_prefix['seg']
    )
    theirs = evaluate(metric, dataset, results)
    names = ['PQ', 'SQ', 'RQ', 'PQ_th', 'PQ_st']
    assert 20 < ours['PQ'] < 95
    assert [ours[name] for name in names] == pytest.approx(
        [theirs[name] for name in names], abs=1e-6
    )


def test_perfect_results_have_full_marks_in_the_stock_metrics(
    dataset, samples
):
    for sample in samples:
        predict(sample, len(dataset.metainfo['classes']))
    ap = evaluate(CocoMetric(metric='segm'), dataset, samples)
    iou = evaluate(SemSegMetric(), dataset, samples)
    assert ap['segm_mAP'] == 1
    assert iou['mIoU'] == 100
