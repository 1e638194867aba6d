"""OneFormer, DiNAT-L, ADE20K at 1280 x 1280, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_dinat-l_ade20k-1280.py 8
Published: 51.5 PQ, 37.1 AP, 58.3 mIoU (58.7 with scales and flips).
Released: 1280x1280_250_16_dinat_l_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l_1280.py',
    './_base_/datasets/ade20k_panoptic_1280.py',
    './_base_/schedules/adamw_poly_160k.py',
    './_base_/tta/semantic_ade20k_1280.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    panoptic_head=dict(num_queries=250),
)
