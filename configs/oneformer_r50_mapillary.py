"""OneFormer, ResNet-50, Mapillary Vistas, 300k iterations.

Train: tools/dist_train.sh configs/oneformer_r50_mapillary.py 8
Published: no score.
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_r50.py',
    './_base_/datasets/mapillary_panoptic.py',
    './_base_/schedules/adamw_poly_300k.py',
    './_base_/tta/semantic_mapillary.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    backbone=dict(
        norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False
    ),
)
optim_wrapper = _base_.float16
