"""EoMT on COCO, 12 epochs: 88715 iterations of 16 images."""

_base_ = './eomt.py'

max_iters = 88715
train_cfg = dict(max_iters=max_iters)
warmup_poly_lr = dict(_base_.warmup_poly_lr, end=max_iters)
param_scheduler = [warmup_poly_lr]
