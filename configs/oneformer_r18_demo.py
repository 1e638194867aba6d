"""The demo: a tiny OneFormer, three tasks, trained in minutes on a CPU.

Run: make demo
"""

_base_ = [
    './_base_/models/oneformer_r18_tiny.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/adamw.py',
    './_base_/default_runtime.py',
]

metainfo = dict(
    classes=(
        *('disc', 'square', 'triangle', 'star'),
        *('sky', 'grass', 'wall', 'water'),
    ),
    thing_classes=('disc', 'square', 'triangle', 'star'),
)
model = dict(metainfo=metainfo)

max_iters = 2000
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100
    ),
    dict(
        type='PolyLR', power=0.9, by_epoch=False, begin=100, end=max_iters
    ),
]
default_hooks = dict(
    logger=dict(interval=100), checkpoint=dict(interval=500)
)
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
