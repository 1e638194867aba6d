"""OneFormer, Swin-L, Cityscapes, 90k iterations.

Train: tools/dist_train.sh configs/oneformer_swin-l_cityscapes.py 8
Published: 67.2 PQ, 45.6 AP, 83.0 mIoU (84.4 with scales and flips).
Released: 250_16_swin_l_oneformer_cityscapes_90k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_swin-l.py',
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
