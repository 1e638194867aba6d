"""Any folder in the COCO panoptic layout, images resized to 128 pixels.

The class names are read from the annotations; tools/demo.py puts them here.
"""

_base_ = './panoptic.py'

data_root = 'work_dirs/demo/data/'
size = (128, 128)
random_flip = dict(type='RandomFlip', prob=0.5)
scale_jitter = dict(type='LargeScaleJitter', size=size, ratio_range=(0.8, 1.3))
sample_task = dict(
    type='SampleTask',
    probs=dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3),
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    random_flip,
    scale_jitter,
    sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=size)
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    batch_sampler=None,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
