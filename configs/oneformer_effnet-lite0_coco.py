"""A tiny OneFormer, pretrained backbone, COCO classes: to try things out.

Train: python tools/train.py configs/oneformer_effnet-lite0_coco.py
Ours: overfits two images, see docs/results.md; not trained on COCO.
"""

_base_ = [
    './_base_/models/oneformer_effnet-lite0_tiny.py',
    './_base_/datasets/coco_panoptic.py',
    './_base_/schedules/adamw_tiny.py',
    './_base_/default_runtime.py',
]

model = dict(metainfo=_base_.metainfo)
