"""Cityscapes panoptic: 8 things, 11 stuff.

Training: short side 512 to 2048, crop of 1024 x 512 (width x height), colour
jitter. Test: 2048 x 1024, the size of the images.
"""

_base_ = './panoptic.py'

# fmt: off
classes = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light',
    'traffic sign', 'vegetation', 'terrain', 'sky', 'person', 'rider', 'car',
    'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)
thing_classes = (
    'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)
# fmt: on
metainfo = dict(classes=classes, thing_classes=thing_classes)

data_root = 'data/cityscapes/'

random_crop = dict(
    type='RandomChoiceResizeCrop',
    # (long side at most, short side)
    scales=[(4096, int(x * 0.1 * 1024)) for x in range(5, 21)],
    crop_size=(1024, 512),  # width, height
)
color_jitter = dict(type='SSDColorJitter')
random_flip = dict(type='RandomFlip', prob=0.5)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    random_crop,
    color_jitter,
    random_flip,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(2048, 1024))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]

# AP by the official script, which has rules of its own:
# pip install -e '.[cityscapes]' && pip install --no-deps cityscapesscripts
instance_ap = dict(
    type='CityscapesInstanceAP',
    seg_prefix=data_root + 'gtFine/val',
    prefix='instance',
)
val_evaluator = [_base_.panoptic_quality, instance_ap, _base_.semantic_iou]
test_evaluator = val_evaluator

train_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(
            img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'
        ),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(
            img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'
        ),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
