"""OneFormer, ResNet-50, ADE20K at 512 x 512, 160k iterations.

Train: tools/dist_train.sh configs/oneformer_r50_ade20k.py 8
Published: no score.
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_r50.py',
    './_base_/datasets/ade20k_panoptic.py',
    './_base_/schedules/adamw_poly_160k.py',
    './_base_/tta/semantic_ade20k_512.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    test_cfg=_base_.test_options,
)
optim_wrapper = _base_.float16
