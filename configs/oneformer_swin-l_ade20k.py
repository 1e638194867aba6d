"""OneFormer, Swin-L, ADE20K at 640 x 640, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_swin-l_ade20k.py 8
Published: 49.8 PQ, 35.9 AP, 57.0 mIoU (57.7 with scales and flips).
Released: 250_16_swin_l_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_swin-l.py',
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
optim_wrapper = _base_.float16
