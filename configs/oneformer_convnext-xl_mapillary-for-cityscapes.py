"""OneFormer, ConvNeXt-XL, Mapillary Vistas, 300k iterations.

Draws the instance task, too: to go on with
oneformer_convnext-xl_cityscapes-mapillary-pretrain.py.

Train: tools/dist_train.sh \\
    configs/oneformer_convnext-xl_mapillary-for-cityscapes.py 8
Published: no score.
Released: mapillary_pretrain_250_16_convnext_xl_oneformer_mapillary_300k.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_convnext-xl.py',
    './_base_/datasets/mapillary_panoptic_three-tasks.py',
    './_base_/schedules/adamw_poly_300k.py',
    './_base_/tta/semantic_mapillary.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
    panoptic_head=dict(num_queries=250),
)
optim_wrapper = _base_.float16
