"""Mapillary Vistas v1.2 panoptic, with the instance task drawn, too."""

_base_ = './mapillary_panoptic.py'

sample_task = dict(
    type='SampleTask',
    probs=dict(semantic=0.33, instance=0.33, panoptic=0.34),
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_crop,
    _base_.color_jitter,
    _base_.random_flip,
    _base_.pad,
    sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
