"""ADE20K panoptic, crops of 896 x 896.

Training: short side 448 to 1792. Test: short side 896, long side at most
3584.
"""

_base_ = './ade20k_panoptic.py'

size = 896
random_crop = dict(
    _base_.random_crop,
    scales=[(4 * size, int(x * 0.1 * size)) for x in range(5, 21)],
    crop_size=(size, size),
)
pad = dict(_base_.pad, size=(size, size))
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    random_crop,
    _base_.color_jitter,
    _base_.random_flip,
    pad,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(4 * size, size))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.load_semantic_truth,
    _base_.pack_test,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
