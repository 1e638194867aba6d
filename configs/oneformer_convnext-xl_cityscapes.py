"""OneFormer, ConvNeXt-XL, Cityscapes, 90k iterations.

Train: tools/dist_train.sh configs/oneformer_convnext-xl_cityscapes.py 8
Published: 68.4 PQ, 46.7 AP, 83.6 mIoU (84.6 with scales and flips).
Released: 250_16_convnext_xl_oneformer_cityscapes_90k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_convnext-xl.py',
    './_base_/datasets/cityscapes_panoptic.py',
    './_base_/schedules/adamw_poly_90k.py',
    './_base_/tta/semantic_cityscapes.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    panoptic_head=dict(num_queries=250),
)
optim_wrapper = _base_.float16
