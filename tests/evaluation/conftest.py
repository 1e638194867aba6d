"""A drawn data set, by the test pipeline of a config."""

from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def config() -> Config:
    init_default_scope('mmdet')
    return Config.fromfile(ROOT / 'configs/_base_/datasets/coco_panoptic.py')


@pytest.fixture(scope='module')
def dataset(config, tmp_path_factory):
    """Drawn images with crowds and void, by the test pipeline."""
    folder = tmp_path_factory.mktemp('evaluator') / 'demo'
    make_demo_data(folder, num_train=1, num_val=12, size=64, seed=4)
    options = config.val_dataloader.dataset.copy()
    del options['metainfo']
    options.update(
        data_root=str(folder),
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val', seg='annotations/panoptic_val'),
    )
    return DATASETS.build(options)


@pytest.fixture
def samples(dataset) -> list[DetDataSample]:
    samples = [dataset[index]['data_samples'] for index in range(12)]
    segments = [s for sample in samples for s in sample.segments_info]
    assert any(s['iscrowd'] for s in segments), 'the data set has a crowd'
    assert any(
        (sample.gt_sem_seg.sem_seg == 255).any() for sample in samples
    ), 'the data set has void'
    return samples
