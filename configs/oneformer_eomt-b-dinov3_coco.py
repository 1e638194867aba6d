"""OneFormer on a plain ViT-B of DINOv3, COCO at 640 x 640, 24 epochs.

Save the weights of DINOv3 as data/dinov3_vitb16_pretrain_lvd1689m.pth first;
see docs/encoder.md.

Train: tools/dist_train.sh configs/oneformer_eomt-b-dinov3_coco.py 8
Published: no score. Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_eomt-b-dinov3.py',
    './_base_/datasets/coco_panoptic_640-square.py',
    './_base_/schedules/eomt_coco_24ep-dinov3.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
)
optim_wrapper = _base_.float16
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]
