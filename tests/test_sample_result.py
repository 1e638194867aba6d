"""From data samples to results: ids, scores, void and order."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from projects.oneformer.models.fusion_head import panoptic_result
from projects.oneformer.sample_result import result_of_sample
from tests.model_configs import METAINFO

VOID = len(METAINFO['classes'])
CAT, SKY, DOG = 1, 2, 3


@pytest.fixture
def sample() -> DetDataSample:
    """Two rows of sky, two cats below, and void."""
    codes = torch.full((3, 4), VOID)
    codes[:2] = SKY
    codes[2, 0] = CAT + 2000
    codes[2, 2] = CAT + 1000
    masks = torch.zeros(3, 3, 4, dtype=torch.bool)
    masks[0, 2, 0] = masks[1, 2] = masks[2, 0, 0] = True
    return DetDataSample(
        pred_panoptic_seg=panoptic_result(
            codes,
            VOID,
            # The dog was refused, and has no pixel.
            torch.tensor([CAT + 1000, CAT + 2000, SKY, SKY, DOG + 3000]),
            torch.tensor([0.5, 0.75, 0.25, 0.25, 0.9]),
        ),
        pred_instances=InstanceData(
            masks=masks,
            labels=torch.tensor([CAT, DOG, CAT]),
            scores=torch.tensor([0.25, 0.75, 0.5]),
        ),
        pred_sem_seg=PixelData(
            sem_seg=torch.tensor([[[SKY] * 4, [SKY] * 4, [CAT, 6, 0, 255]]])
        ),
    )


def test_panoptic_ids_are_numbered_from_1_by_rising_code(sample):
    result = result_of_sample(sample, METAINFO)
    assert result.panoptic.tolist() == [[1] * 4, [1] * 4, [3, 0, 2, 0]]
    assert result.panoptic.dtype == np.int32
    assert [(s.id, s.name, s.is_thing, s.score) for s in result.segments] == [
        (1, 'sky', False, 0.25),
        (2, 'cat', True, 0.5),
        (3, 'cat', True, 0.75),
    ]


def test_instances_come_by_falling_score_from_the_threshold_on(sample):
    result = result_of_sample(sample, METAINFO, score_thr=0.5)
    assert [(i.name, i.score) for i in result.instances] == [
        ('dog', 0.75),
        ('cat', 0.5),
    ]
    assert [i.score for i in result.hidden] == [0.25]
    assert result.instances[0].bbox == (0, 2, 4, 1)
    assert len({i.id for i in (*result.instances, *result.hidden)}) == 3


def test_labels_that_are_no_class_are_void_in_the_semantic_map(sample):
    result = result_of_sample(sample, METAINFO)
    assert result.semantic.tolist()[2] == [CAT, 255, 0, 255]
    assert result.semantic.dtype == np.uint8
    many = dict(classes=[str(n) for n in range(300)])
    result = result_of_sample(sample, many, tasks=['semantic'])
    assert result.semantic.dtype == np.uint16
    assert result.semantic.tolist()[2] == [CAT, 6, 0, 255]


def test_only_the_tasks_asked_for_are_read(sample):
    assert result_of_sample(sample, METAINFO, ['instance']).tasks == (
        'instance',
    )
    with pytest.raises(ValueError, match='got none'):
        result_of_sample(DetDataSample(), METAINFO)


def test_ground_truth_has_no_scores(sample):
    del sample.pred_instances.scores
    sample.pred_panoptic_seg = PixelData(
        sem_seg=sample.pred_panoptic_seg.sem_seg
    )
    result = result_of_sample(sample, METAINFO, ['panoptic', 'instance'])
    assert [s.score for s in result.segments] == [None] * 3
    assert len(result.instances) == 3 and not result.hidden


def test_category_ids_and_palette_are_those_of_the_metainfo(sample):
    meta = dict(
        METAINFO,
        category_ids=[3, 17, 187, 18, 3000, 149],
        palette=[[n, n, n] for n in range(6)],
    )
    result = result_of_sample(sample, meta)
    assert result.category_id(SKY) == 187
    assert result.palette[5] == (5, 5, 5)
    assert result_of_sample(sample, METAINFO).category_ids is None


def test_an_instance_of_no_class_is_refused(sample):
    sample.pred_instances.labels[0] = 6
    with pytest.raises(ValueError, match='label 6, but dataset_meta names 6'):
        result_of_sample(sample, METAINFO)
