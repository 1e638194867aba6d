"""As oneformer_shapes_mixed-few.py, all not labelled being background."""

_base_ = './oneformer_shapes_mixed-few.py'

instance = dict(_base_.instance, missing_classes='background')
semantic = dict(
    _base_.semantic, missing_classes='background', void='background'
)
train_dataloader = dict(
    dataset=dict(datasets=[_base_.few_panoptic, instance, semantic])
)
