"""OneFormer on a plain ViT-B of DINOv2, whose last blocks queries join."""

_base_ = './oneformer_eomt-s.py'

block = dict(embed_dims=768, num_heads=12, feedforward_channels=3072)
model = dict(
    backbone=dict(num_layers=9, block=block),
    panoptic_head=dict(num_layers=3, block=block),
    init_cfg=dict(
        checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/'
        'dinov2_vitb14_reg4_pretrain.pth'
    ),
)
