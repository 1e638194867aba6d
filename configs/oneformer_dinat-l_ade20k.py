"""OneFormer, DiNAT-L, ADE20K at 640 x 640, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_dinat-l_ade20k.py 8
Published: 50.5 PQ, 36.0 AP, 58.3 mIoU (58.4 with scales and flips).
Released: 250_16_dinat_l_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l.py',
    './_base_/datasets/ade20k_panoptic_640.py',
    './_base_/schedules/adamw_poly_160k.py',
    './_base_/tta/semantic_ade20k_640.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    panoptic_head=dict(num_queries=250),
)
