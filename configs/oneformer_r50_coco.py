"""OneFormer, ResNet-50, COCO, 50 epochs.

Train: tools/dist_train.sh configs/oneformer_r50_coco.py 8
Published: no score.
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_r50.py',
    './_base_/datasets/coco_panoptic.py',
    './_base_/schedules/adamw_coco_50ep.py',
    './_base_/default_runtime.py',
]

model = dict(metainfo=_base_.metainfo)
optim_wrapper = _base_.float16
