"""Ground truth of ADE20K and Cityscapes files, by small real samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import EvalTargets, LoadSemanticTruth
from projects.oneformer.evaluation import InstanceAP, SemanticIoU

ROOT = Path(__file__).parents[2]


def build(folder: Path, ann_file: str, prefix: dict, semantic: dict):
    """A data set with the test pipeline of COCO and semantic PNGs."""
    init_default_scope('mmdet')
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/coco_panoptic.py')
    options = config.val_dataloader.dataset
    del options['metainfo']
    options.update(
        data_root=str(folder), ann_file=ann_file, data_prefix=prefix
    )
    options.pipeline.insert(-1, dict(type='LoadSemanticTruth', **semantic))
    return DATASETS.build(options)


@pytest.fixture
def ade20k(shared_data):
    folder = shared_data / 'ade20k_mini/ADEChallengeData2016'
    return folder, build(
        folder,
        'ade20k_panoptic_val.json',
        dict(img='images/validation', seg='ade20k_panoptic_val'),
        dict(
            img_prefix=str(folder / 'images/validation'),
            seg_prefix=str(folder / 'annotations/validation'),
            reduce_zero_label=True,
        ),
    )


def test_ade20k_is_measured_by_its_own_instance_and_semantic_files(ade20k):
    folder, dataset = ade20k
    sample = dataset[0]['data_samples']
    ann_file = folder / 'ade20k_instance_val.json'
    truth = json.loads(ann_file.read_text())['annotations']
    masks = [coco_mask.decode(own['segmentation']) for own in truth]
    labels = [own['category_id'] for own in truth]  # as in the file
    things = dataset.metainfo['thing_classes']
    assert len(things) == 100
    semantic = np.array(
        Image.open(folder / f'annotations/validation/{sample.img_id}.png')
    ).astype(int)
    metrics = {
        InstanceAP(ann_file=str(ann_file), category_key='label'): dict(
            pred_instances=dict(
                masks=torch.from_numpy(np.array(masks)).bool(),
                labels=torch.tensor(labels),
                scores=torch.ones(len(labels)),
            )
        ),
        SemanticIoU(): dict(
            pred_sem_seg=dict(
                sem_seg=torch.from_numpy(np.maximum(semantic - 1, 0))[None]
            )
        ),
    }
    found = {}
    for metric, prediction in metrics.items():
        metric.dataset_meta = dataset.metainfo
        metric.process({}, [dict(sample.to_dict(), **prediction)])
        found.update(metric.evaluate(1))
    assert found['instance/segm_mAP'] == pytest.approx(1)
    assert found['semantic/mIoU'] == 100


def test_cityscapes_labels_are_those_of_the_panoptic_annotation(shared_data):
    folder = shared_data / 'camvid_cityscapes_layout'
    split = folder / 'gtFine/cityscapes_panoptic_val'
    content = json.loads(split.with_suffix('.json').read_text())
    numbers = [category['id'] for category in content['categories']]
    load = LoadSemanticTruth(
        img_prefix=str(folder / 'leftImg8bit/val'),
        seg_prefix=str(folder / 'gtFine/val'),
        img_suffix='_leftImg8bit.png',
        seg_suffix='_gtFine_labelTrainIds.png',
    )
    for annotation in content['annotations']:
        coded = np.array(Image.open(split / annotation['file_name']))
        results = dict(
            gt_seg_map=coded,
            segments_info=[
                dict(
                    id=own['id'],
                    category=numbers.index(own['category_id']),
                    is_thing=False,
                    iscrowd=bool(own['iscrowd']),
                )
                for own in annotation['segments_info']
            ],
            classes=numbers,
            ori_shape=coded.shape[:2],
            img_path=str(
                folder
                / 'leftImg8bit/val/camvid'
                / f'{annotation["image_id"]}_leftImg8bit.png'
            ),
        )
        derived = EvalTargets()(results)['gt_seg_map']
        assert (derived != 255).mean() > 0.9
        assert (load(results)['gt_seg_map'] == derived).all()
