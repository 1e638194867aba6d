"""OneFormer, DiNAT-L, Mapillary Vistas, 300k iterations.

Train: tools/dist_train.sh configs/oneformer_dinat-l_mapillary.py 8
Published: 47.8 PQ, 64.0 mIoU (64.9 with scales and flips).
Released: 250_16_dinat_l_oneformer_mapillary_300k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l.py',
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
