"""COCO, 100 epochs: 737500 iterations of 16 images."""

_base_ = './adamw.py'

max_iters = 737500
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=5000
)
step_lr = dict(
    type='MultiStepLR',
    by_epoch=False,
    # As Swin-L was trained; the second step of DiNAT-L is at 710184.
    milestones=[655556, 735184],
    gamma=0.1,
    end=max_iters,
)
param_scheduler = [step_lr]
