"""COCO panoptic in squares of 640 x 640, as EoMT is trained.

Training: large-scale jitter, images that are smaller are padded.
Test: the long side is 640.
"""

_base_ = './coco_panoptic.py'

size = 640
scale_jitter = dict(
    type='LargeScaleJitter', size=(size, size), ratio_range=(0.1, 2.0)
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
# The panoptic task alone, to replace the pipeline of train_dataloader.
sample_panoptic = dict(type='SampleTask', probs=dict(panoptic=1.0))
panoptic_train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    scale_jitter,
    sample_panoptic,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(size, size))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
