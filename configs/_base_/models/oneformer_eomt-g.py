"""OneFormer on a plain ViT-g of DINOv2, whose last blocks queries join."""

_base_ = './oneformer_eomt-s.py'

block = dict(
    embed_dims=1536, num_heads=24, feedforward_channels=4096, gated=True
)
model = dict(
    backbone=dict(num_layers=35, block=block),
    panoptic_head=dict(num_layers=5, block=block),
    init_cfg=dict(
        checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitg14/'
        'dinov2_vitg14_reg4_pretrain.pth'
    ),
)
