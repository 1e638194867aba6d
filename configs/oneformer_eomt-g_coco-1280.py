"""OneFormer on a plain ViT-g, COCO at 1280 x 1280, 12 epochs.

Train: tools/dist_train.sh configs/oneformer_eomt-g_coco-1280.py 8
Published: no score. Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_eomt-g.py',
    './_base_/datasets/coco_panoptic_1280-square.py',
    './_base_/schedules/eomt_coco_12ep.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=1280),
    backbone=dict(image_size=_base_.size),
)
optim_wrapper = _base_.float16
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]
