"""As oneformer_shapes_mixed.py, all that is not labelled being background."""

_base_ = './oneformer_shapes_mixed.py'

instance = dict(_base_.instance, missing_classes='background')
semantic = dict(
    _base_.semantic, missing_classes='background', void='background'
)
train_dataloader = dict(
    dataset=dict(datasets=[_base_.panoptic, instance, semantic])
)
