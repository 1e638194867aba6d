"""OneFormer, ConvNeXt-L, Cityscapes, from Mapillary Vistas, 90k iterations.

Begins with the released weights of
oneformer_convnext-l_mapillary-for-cityscapes.py.

Train: tools/dist_train.sh \\
    configs/oneformer_convnext-l_cityscapes-mapillary-pretrain.py 8
Published: 70.1 PQ, 48.7 AP, 84.6 mIoU (85.2 with scales and flips).
Released: mapillary_pretrain_250_16_convnext_l_oneformer_cityscapes_90k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_convnext-l.py',
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
    'mapillary_pretrain_250_16_convnext_l_oneformer_mapillary_300k.pth'
)
