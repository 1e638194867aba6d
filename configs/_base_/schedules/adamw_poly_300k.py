"""Mapillary Vistas: 300000 iterations of 16 images, LR falling to 0."""

_base_ = './adamw.py'

max_iters = 300000
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=30000
)
param_scheduler = [
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        by_epoch=False,
        # (1 - t / max_iters) ** power in iteration t: mmengine reaches 0 one
        # iteration before its end.
        end=max_iters + 1,
    )
]
