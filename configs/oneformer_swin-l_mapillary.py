"""OneFormer, Swin-L, Mapillary Vistas, 300k iterations.

Train: tools/dist_train.sh configs/oneformer_swin-l_mapillary.py 8
Published: 46.7 PQ, 62.9 mIoU (64.1 with scales and flips).
Released: 250_16_swin_l_oneformer_mapillary_300k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_swin-l.py',
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
