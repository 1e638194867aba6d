"""What all data sets share: loaders, ground truth and metrics.

The brick of a data set adds classes, files and pipelines. Its training
pipeline is ``load_pipeline``, its augmentations, ``target_pipeline``.
"""

load_pipeline = [
    # Pillow decodes and resizes as the reference does.
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadSegments'),
]
target_pipeline = [
    dict(
        type='SampleTask',
        probs=dict(semantic=0.33, instance=0.33, panoptic=0.34),
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
            'unlabelled_classes',
        ),
    ),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    # The longest long side and the short side.
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    dict(type='LoadSegments'),
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
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(type='OneFormerPanopticDataset'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='OneFormerPanopticDataset', test_mode=True),
)
test_dataloader = val_dataloader

# Each reads the result that was made with its own task token.
val_evaluator = [
    dict(type='PanopticQuality', prefix='panoptic'),
    dict(type='InstanceAP', prefix='instance'),
    dict(type='SemanticIoU', prefix='semantic'),
]
test_evaluator = val_evaluator
