"""EoMT on COCO, 12 epochs, from the weights of DINOv3."""

_base_ = './eomt_coco_12ep.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-4), paramwise_cfg=dict(decay_joint=False)
)
warmup_poly_lr = dict(_base_.warmup_poly_lr, warmup=2000, vit_warmup=3000)
param_scheduler = [warmup_poly_lr]
# The first of four joint blocks (ViT-L) is annealed during the warm-up.
mask_annealing = dict(
    start=[0, 1 / 3, 1 / 2, 2 / 3],
    end=[3000 / 88715, 1 / 2, 2 / 3, 5 / 6],
)
