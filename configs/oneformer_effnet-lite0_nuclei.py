"""A tiny OneFormer, pretrained backbone, nuclei of microscopy (2 classes).

Train: python tools/train.py configs/oneformer_effnet-lite0_nuclei.py
Ours: see docs/results.md.
"""

_base_ = [
    './_base_/models/oneformer_effnet-lite0_tiny.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/adamw_tiny.py',
    './_base_/default_runtime.py',
]

metainfo = dict(classes=('nucleus', 'background'), thing_classes=('nucleus',))
model = dict(metainfo=metainfo)

data_root = 'data/nuclei_panoptic/'
scale_jitter = dict(
    _base_.scale_jitter, size=(192, 192), ratio_range=(0.75, 2.0)
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    scale_jitter,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(256, 256))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
