"""OneFormer, ConvNeXt-L, Mapillary Vistas, 300k iterations.

Train: tools/dist_train.sh configs/oneformer_convnext-l_mapillary.py 8
Published: 47.9 PQ, 63.2 mIoU (63.8 with scales and flips).
Released: 250_16_convnext_l_oneformer_mapillary_300k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_convnext-l.py',
    './_base_/datasets/mapillary_panoptic.py',
    './_base_/schedules/adamw_poly_300k.py',
    './_base_/tta/semantic_mapillary.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    panoptic_head=dict(num_queries=250),
)
optim_wrapper = _base_.float16
