"""OneFormer, ConvNeXt-XL, ADE20K at 640 x 640, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_convnext-xl_ade20k.py 8
Published: 50.1 PQ, 36.3 AP, 57.4 mIoU (58.8 with scales and flips).
Released: 250_16_convnext_xl_oneformer_ade20k_160k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_convnext-xl.py',
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
