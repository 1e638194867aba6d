"""OneFormer, Swin-L, ADE20K at 896 x 896, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_swin-l_ade20k-896.py 8
Published: 51.1 PQ, 37.6 AP, 57.4 mIoU (58.3 with scales and flips).
Released: 896x896_250_16_swin_l_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_swin-l.py',
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
optim_wrapper = _base_.float16
