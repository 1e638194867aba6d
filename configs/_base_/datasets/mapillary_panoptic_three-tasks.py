"""Mapillary Vistas v1.2 panoptic, with the instance task drawn, too."""

_base_ = './mapillary_panoptic.py'

train_pipeline = _base_.train_pipeline
train_pipeline[6].probs = dict(semantic=0.33, instance=0.33, panoptic=0.34)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
