"""OneFormer, DiNAT-L, Cityscapes, 90k iterations.

Train: tools/dist_train.sh configs/oneformer_dinat-l_cityscapes.py 8
Published: 67.6 PQ, 45.6 AP, 83.1 mIoU (84.0 with scales and flips).
Released: 250_16_dinat_l_oneformer_cityscapes_90k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l_k7.py',
    './_base_/datasets/cityscapes_panoptic.py',
    './_base_/schedules/adamw_poly_90k.py',
    './_base_/tta/semantic_cityscapes.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    panoptic_head=dict(num_queries=250),
)
