"""ADE20K panoptic, crops of 1280 x 1280.

Training: short side 640 to 2560. Test: short side 1280, long side at most
5120.
"""

_base_ = './ade20k_panoptic.py'

size = 1280
train_pipeline = _base_.train_pipeline
train_pipeline[2].scales = [
    (4 * size, int(x * 0.1 * size)) for x in range(5, 21)
]
train_pipeline[2].crop_size = (size, size)
train_pipeline[5].size = (size, size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (4 * size, size)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
