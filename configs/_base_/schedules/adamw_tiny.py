"""A short run for tiny models: 1600 iterations, one learning rate for all."""

_base_ = './adamw.py'

max_iters = 1600
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=max_iters
)
optim_wrapper = dict(
    # Fused: on a CPU the update of the token embedding is a large part.
    optimizer=dict(lr=7e-4, fused=True),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
warmup_lr = dict(
    type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100
)
poly_lr = dict(
    type='PolyLR', power=0.9, by_epoch=False, begin=100, end=max_iters
)
param_scheduler = [warmup_lr, poly_lr]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
