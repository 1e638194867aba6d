"""COCO, 50 epochs: 368750 iterations of 16 images."""

_base_ = './adamw.py'

max_iters = 368750
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=5000
)
step_lr = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[327778, 355092],
    gamma=0.1,
    end=max_iters,
)
param_scheduler = [step_lr]
