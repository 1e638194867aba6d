"""Mapillary Vistas v1.2 panoptic: 37 things, 28 stuff.

Training: short side 1024 to 4096, crop of 1024 x 1024, colour jitter,
padding; the instance task is never drawn. Test: long side 2048; instances
are not evaluated.
"""

_base_ = './panoptic.py'

# fmt: off
classes = (
    'Bird', 'Ground Animal', 'Curb', 'Fence', 'Guard Rail', 'Barrier', 'Wall',
    'Bike Lane', 'Crosswalk - Plain', 'Curb Cut', 'Parking', 'Pedestrian Area',
    'Rail Track', 'Road', 'Service Lane', 'Sidewalk', 'Bridge', 'Building',
    'Tunnel', 'Person', 'Bicyclist', 'Motorcyclist', 'Other Rider',
    'Lane Marking - Crosswalk', 'Lane Marking - General', 'Mountain', 'Sand',
    'Sky', 'Snow', 'Terrain', 'Vegetation', 'Water', 'Banner', 'Bench',
    'Bike Rack', 'Billboard', 'Catch Basin', 'CCTV Camera', 'Fire Hydrant',
    'Junction Box', 'Mailbox', 'Manhole', 'Phone Booth', 'Pothole',
    'Street Light', 'Pole', 'Traffic Sign Frame', 'Utility Pole',
    'Traffic Light', 'Traffic Sign (Back)', 'Traffic Sign (Front)',
    'Trash Can', 'Bicycle', 'Boat', 'Bus', 'Car', 'Caravan', 'Motorcycle',
    'On Rails', 'Other Vehicle', 'Trailer', 'Truck', 'Wheeled Slow',
    'Car Mount', 'Ego Vehicle',
)
thing_classes = (
    'Bird', 'Ground Animal', 'Crosswalk - Plain', 'Person', 'Bicyclist',
    'Motorcyclist', 'Other Rider', 'Lane Marking - Crosswalk', 'Banner',
    'Bench', 'Bike Rack', 'Billboard', 'Catch Basin', 'CCTV Camera',
    'Fire Hydrant', 'Junction Box', 'Mailbox', 'Manhole', 'Phone Booth',
    'Street Light', 'Pole', 'Traffic Sign Frame', 'Utility Pole',
    'Traffic Light', 'Traffic Sign (Back)', 'Traffic Sign (Front)',
    'Trash Can', 'Bicycle', 'Boat', 'Bus', 'Car', 'Caravan', 'Motorcycle',
    'Other Vehicle', 'Trailer', 'Truck', 'Wheeled Slow',
)
# fmt: on
metainfo = dict(classes=classes, thing_classes=thing_classes)

data_root = 'data/mapillary_vistas/'
# For model.test_cfg: what evaluation asks for.
test_options = dict(tasks=['panoptic', 'semantic'])

size = 1024
random_crop = dict(
    type='RandomChoiceResizeCrop',
    # (long side at most, short side)
    scales=[(8192, int(x * 0.1 * 2048)) for x in range(5, 21)],
    crop_size=(size, size),
)
color_jitter = dict(type='SSDColorJitter')
random_flip = dict(type='RandomFlip', prob=0.5)
pad = dict(type='PadToSize', size=(size, size))
sample_task = dict(
    type='SampleTask',
    probs=dict(semantic=0.5, instance=0.0, panoptic=0.5),
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    random_crop,
    color_jitter,
    random_flip,
    pad,
    sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(2048, 2048))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]

train_dataloader = dict(
    num_workers=10,
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='training/panoptic/panoptic_2018.json',
        data_prefix=dict(img='training/images/', seg='training/panoptic/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='validation/panoptic/panoptic_2018.json',
        data_prefix=dict(img='validation/images/', seg='validation/panoptic/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = [_base_.panoptic_quality, _base_.semantic_iou]
test_evaluator = val_evaluator
