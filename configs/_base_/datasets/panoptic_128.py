"""Any folder in the COCO panoptic layout, pictures brought to 128 pixels.

The class names are read from the annotations; tools/demo.py puts them here.
"""

_base_ = './panoptic.py'

data_root = 'work_dirs/demo/data/'
size = (128, 128)
train_pipeline = [
    *_base_.load_pipeline,
    dict(type='RandomFlip', prob=0.5),
    dict(type='LargeScaleJitter', size=size, ratio_range=(0.8, 1.3)),
    *_base_.target_pipeline,
]
train_pipeline[4].probs = dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size

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
