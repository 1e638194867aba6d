"""EoMT on COCO, 12 epochs: 88715 iterations of 16 images."""

_base_ = './eomt.py'

max_iters = 88715
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=5000
)
warmup_poly_lr = dict(
    type='TwoStageWarmupPolyLR',
    warmup=500,
    vit_warmup=1000,
    end=max_iters,
)
param_scheduler = [warmup_poly_lr]
