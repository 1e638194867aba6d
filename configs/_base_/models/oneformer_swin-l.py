"""OneFormer with Swin-L, 150 queries."""

_base_ = './oneformer_swin-t.py'

model = dict(
    backbone=dict(
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        pretrain_img_size=384,
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/'
            'download/v1.0.0/swin_large_patch4_window12_384_22kto1k.pth'
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536]),
)
