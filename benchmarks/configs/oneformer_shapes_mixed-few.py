"""As oneformer_shapes_mixed.py, with 20 panoptic annotations, drawn as often.

Half of the images of a batch are still panoptic, a quarter instances of two
classes and a quarter stuff.
"""

_base_ = './oneformer_shapes_mixed.py'

few_panoptic = dict(
    type='RepeatDataset',
    times=8,
    dataset=dict(_base_.panoptic, indices=list(range(0, 320, 16))),
)
train_dataloader = dict(
    dataset=dict(datasets=[few_panoptic, _base_.instance, _base_.semantic])
)
