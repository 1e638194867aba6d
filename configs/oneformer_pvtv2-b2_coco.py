"""OneFormer, PVTv2-B2 of mmdet, COCO panoptic, 50 epochs of 16 images.

An example of a backbone that needs nothing but a config.

Train: tools/dist_train.sh configs/oneformer_pvtv2-b2_coco.py 8
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
        type='PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/whai362/PVT/releases/download/v2/'
            'pvt_v2_b2.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[64, 128, 320, 512]),
)
