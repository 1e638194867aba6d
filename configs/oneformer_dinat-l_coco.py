"""OneFormer, DiNAT-L, COCO, 100 epochs.

Train: tools/dist_train.sh configs/oneformer_dinat-l_coco.py 8
Published: 58.0 PQ, 64.3 PQ_th, 48.4 PQ_st, 49.2 AP, 68.1 mIoU.
Released: 150_16_dinat_l_oneformer_coco_100ep.pth
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_dinat-l.py',
    './_base_/datasets/coco_panoptic.py',
    './_base_/schedules/adamw_coco_100ep.py',
    './_base_/default_runtime.py',
]

model = dict(metainfo=_base_.metainfo)
step_lr = dict(_base_.step_lr, milestones=[655556, 710184])
param_scheduler = [step_lr]
