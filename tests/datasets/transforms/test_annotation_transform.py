"""An image of no dataset passes; a sample without annotation does not."""

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope

from projects.oneformer.datasets import (
    EvalTargets,
    LoadInstanceSegments,
    LoadPanopticSegments,
    LoadSegments,
    LoadSemanticSegments,
    LoadSemanticTruth,
)

TRANSFORMS = (
    EvalTargets(),
    LoadInstanceSegments(),
    LoadPanopticSegments(),
    LoadSegments(),
    LoadSemanticSegments(),
    LoadSemanticTruth(img_prefix='images', seg_prefix='labels'),
)


@pytest.mark.parametrize(
    'transform', TRANSFORMS, ids=lambda transform: type(transform).__name__
)
def test_an_image_of_an_inferencer_passes_unchanged(transform):
    results = dict(
        img=np.zeros((2, 3, 3), np.uint8),
        img_path='anywhere/a.jpg',
        img_id=0,
        img_shape=(2, 3),
        ori_shape=(2, 3),
        scale_factor=(1.0, 1.0),
    )
    before = dict(results)
    assert transform(results) == before


def test_a_sample_of_a_dataset_of_another_kind_is_refused():
    init_default_scope('mmdet')
    dataset = CocoDataset(
        lazy_init=True, pipeline=[LoadSegments()], test_mode=True
    )
    dataset.data_list = [dict(img_path='a.jpg', img_id=7, instances=[])]
    dataset.serialize_data = False
    dataset._fully_initialized = True
    with pytest.raises(ValueError, match='a.jpg has no annotation that') as e:
        dataset[0]
    assert "['panoptic', 'instance', 'semantic'], got None" in str(e.value)
    assert 'OneFormerPanopticDataset' in str(e.value)


def test_a_sample_that_lost_its_annotation_is_refused():
    sample = dict(img_path='a.jpg', sample_idx=0, annotation=None)
    with pytest.raises(ValueError, match='no annotation that LoadSegments'):
        LoadSegments()(sample)
