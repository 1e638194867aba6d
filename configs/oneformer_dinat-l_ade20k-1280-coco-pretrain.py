"""OneFormer, DiNAT-L, ADE20K at 1280 x 1280, from COCO, 160k iterations.

Begins with the released weights of
oneformer_dinat-l_coco.py.

Train: tools/dist_train.sh \\
    configs/oneformer_dinat-l_ade20k-1280-coco-pretrain.py 8
Published: 53.4 PQ, 40.2 AP, 58.4 mIoU (58.8 with scales and flips).
Released: coco_pretrain_1280x1280_150_16_dinat_l_oneformer_ade20k_160k.pth
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
    backbone=dict(init_cfg=None),
)
load_from = (
    'https://shi-labs.com/projects/oneformer/coco/'
    '150_16_dinat_l_oneformer_coco_100ep.pth'
)
