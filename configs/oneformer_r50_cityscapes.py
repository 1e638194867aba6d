"""OneFormer, ResNet-50, Cityscapes, 90k iterations.

Train: tools/dist_train.sh configs/oneformer_r50_cityscapes.py 8
Published: no score.
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_r50.py',
    './_base_/datasets/cityscapes_panoptic.py',
    './_base_/schedules/adamw_poly_90k.py',
    './_base_/tta/semantic_cityscapes.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(
        norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False
    ),
)
optim_wrapper = _base_.float16
