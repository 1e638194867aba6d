"""OneFormer, DiNAT-L, ADE20K at 896 x 896, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_dinat-l_ade20k-896.py 8
Published: 51.2 PQ, 36.8 AP, 58.1 mIoU (58.6 with scales and flips).
Released: 896x896_250_16_dinat_l_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l.py',
    './_base_/datasets/ade20k_panoptic_896.py',
    './_base_/schedules/adamw_poly_160k.py',
    './_base_/tta/semantic_ade20k_896.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    panoptic_head=dict(num_queries=250),
)
