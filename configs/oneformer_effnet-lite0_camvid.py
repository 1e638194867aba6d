"""A tiny OneFormer, pretrained backbone, street scenes of CamVid (11 classes).

Train: python tools/train.py configs/oneformer_effnet-lite0_camvid.py
Ours: see docs/results.md.
"""

_base_ = [
    './_base_/models/oneformer_effnet-lite0_tiny.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/adamw_tiny.py',
    './_base_/default_runtime.py',
]

thing_classes = ('car', 'pedestrian', 'bicyclist')
stuff_classes = (
    *('sky', 'building', 'pole', 'road'),
    *('pavement', 'tree', 'sign', 'fence'),
)
metainfo = dict(
    classes=thing_classes + stuff_classes, thing_classes=thing_classes
)
model = dict(metainfo=metainfo)

data_root = 'data/camvid_panoptic/'
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(size=(192, 256), ratio_range=(0.75, 2.0))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(384, 288))
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
