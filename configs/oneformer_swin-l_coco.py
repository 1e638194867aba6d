"""OneFormer, Swin-L, COCO, 100 epochs.

Train: tools/dist_train.sh configs/oneformer_swin-l_coco.py 8
Published: 57.9 PQ, 64.4 PQ_th, 48.0 PQ_st, 49.0 AP, 67.4 mIoU.
Released: 150_16_swin_l_oneformer_coco_100ep.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_swin-l.py',
    './_base_/datasets/coco_panoptic.py',
    './_base_/schedules/adamw_coco_100ep.py',
    './_base_/default_runtime.py',
]

model = dict(metainfo=_base_.metainfo)
