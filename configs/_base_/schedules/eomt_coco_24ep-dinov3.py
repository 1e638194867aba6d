"""EoMT on COCO, 24 epochs, from the weights of DINOv3."""

_base_ = './eomt_coco_24ep.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-4), paramwise_cfg=dict(decay_joint=False)
)
warmup_poly_lr = dict(_base_.warmup_poly_lr, warmup=2000, vit_warmup=3000)
param_scheduler = [warmup_poly_lr]
# The first of three joint blocks (ViT-S, ViT-B) is annealed during the
# warm-up.
mask_annealing = dict(
    start=[0, 5 / 12, 2 / 3],
    end=[3000 / 177430, 7 / 12, 5 / 6],
)
