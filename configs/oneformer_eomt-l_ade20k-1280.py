"""OneFormer on a plain ViT-L, ADE20K at 1280 x 1280, 31 epochs.

Train: tools/dist_train.sh configs/oneformer_eomt-l_ade20k-1280.py 8
Published: no score. Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_eomt-l.py',
    './_base_/datasets/ade20k_panoptic_1280-square.py',
    './_base_/schedules/eomt_ade20k_31ep.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=1280),
    backbone=dict(image_size=_base_.size),
)
optim_wrapper = _base_.float16
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]
