"""OneFormer, plain ViT-B of mmpretrain with a feature pyramid, COCO.

An example of a backbone with one stride and a neck, both by config alone.

Train: tools/dist_train.sh configs/oneformer_vit-b_coco.py 8
Published: no score. Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_r50.py',
    './_base_/datasets/coco_panoptic.py',
    './_base_/schedules/adamw_coco_50ep.py',
    './_base_/default_runtime.py',
]

model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='base',
        patch_size=16,
        drop_path_rate=0.1,
        out_indices=[2, 5, 8, 11],
        out_type='featmap',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/'
            'vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(
        type='mmseg.Feature2Pyramid',
        embed_dim=768,
        norm_cfg=dict(type='GN', num_groups=32),
    ),
    panoptic_head=dict(in_channels=[768, 768, 768, 768]),
)
