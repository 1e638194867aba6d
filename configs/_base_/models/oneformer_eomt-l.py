"""OneFormer on a plain ViT-L of DINOv2, whose last blocks queries join."""

_base_ = './oneformer_eomt-s.py'

block = dict(embed_dims=1024, num_heads=16, feedforward_channels=4096)
model = dict(
    backbone=dict(num_layers=20, block=block),
    panoptic_head=dict(num_layers=4, block=block),
    init_cfg=dict(
        checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/'
        'dinov2_vitl14_reg4_pretrain.pth'
    ),
)
