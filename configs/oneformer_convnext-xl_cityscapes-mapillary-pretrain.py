"""OneFormer, ConvNeXt-XL, Cityscapes, from Mapillary Vistas, 90k iterations.

Begins with the released weights of
oneformer_convnext-xl_mapillary-for-cityscapes.py.

Train: tools/dist_train.sh \\
    configs/oneformer_convnext-xl_cityscapes-mapillary-pretrain.py 8
Published: 69.7 PQ, 48.9 AP, 84.5 mIoU (85.8 with scales and flips).
Released: mapillary_pretrain_250_16_convnext_xl_oneformer_cityscapes_90k.pth
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
    backbone=dict(init_cfg=None),
)
optim_wrapper = _base_.float16
load_from = (
    'https://shi-labs.com/projects/oneformer/mapillary/'
    'mapillary_pretrain_250_16_convnext_xl_oneformer_mapillary_300k.pth'
)
