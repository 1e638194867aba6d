"""OneFormer on a plain ViT-L of DINOv3, whose last blocks queries join.

Positions are rotary, for images of any size. The weights are under the DINOv3
License, which you accept where you download them.
"""

_base_ = './oneformer_eomt-l.py'

block = dict(key_bias=False, norm_eps=1e-5)
model = dict(
    backbone=dict(block=block, image_size=None),
    panoptic_head=dict(block=block),
    init_cfg=dict(checkpoint='data/dinov3_vitl16_pretrain_lvd1689m.pth'),
)
