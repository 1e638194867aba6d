"""Any folder in the COCO panoptic layout, pictures brought to 128 pixels.

The class names are read from the annotations; tools/demo.py puts them here.
"""

data_root = 'work_dirs/demo/data/'
size = (128, 128)
train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadPanopticSegments'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='LargeScaleJitter', size=size, ratio_range=(0.8, 1.3)),
    dict(
        type='SampleTask',
        probs=dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3),
    ),
    dict(type='TaskTargets'),
    dict(type='TaskTexts'),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'flip',
            'flip_direction',
            'task',
            'texts',
            'filler_text',
        ),
    ),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=size, keep_ratio=True, backend='pillow'),
    dict(type='LoadPanopticSegments'),
    dict(type='EvalTargets'),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'segments_info',
            'instances',
        ),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='OneFormerPanopticDataset',
        data_root=data_root,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OneFormerPanopticDataset',
        data_root=data_root,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality', prefix='panoptic'),
    dict(
        type='InstanceAP',
        metric='segm',
        proposal_nums=(1, 10, 100),
        prefix='instance',
    ),
    dict(type='SemSegMetric', iou_metrics=['mIoU'], prefix='semantic'),
]
test_evaluator = val_evaluator
