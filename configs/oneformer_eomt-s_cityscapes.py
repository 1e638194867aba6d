"""OneFormer on a plain ViT-S, Cityscapes at 1024 x 1024, 107 epochs.

Train: tools/dist_train.sh configs/oneformer_eomt-s_cityscapes.py 8
Published: no score. Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_eomt-s.py',
    './_base_/datasets/cityscapes_panoptic_1024-square.py',
    './_base_/schedules/eomt_cityscapes_107ep.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(image_size=_base_.size),
)
optim_wrapper = _base_.float16
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]
