"""What all data sets share: steps of pipelines, metrics and loaders.

A pipeline is a list of named steps, an evaluator a list of named metrics. The
brick of a data set adds classes, files and augmentations. A config that
changes a step names the changed one and lists the pipeline again.
"""

# Pillow decodes and resizes as the reference does. The scope asks for the
# reader of projects/oneformer/images.py in place of mmcv's.
load_image = dict(type='LoadImageFromFile', _scope_='projects.oneformer')
load_segments = dict(type='LoadSegments')

# Training: load, augment, then these.
sample_task = dict(
    type='SampleTask',
    probs=dict(semantic=0.33, instance=0.33, panoptic=0.34),
)
task_targets = dict(type='TaskTargets')
task_texts = dict(type='TaskTexts')
pack_train = dict(
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
)

# Test: the long side is at most the first number, the short side the second.
resize = dict(
    type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'
)
eval_targets = dict(type='EvalTargets')
pack_test = dict(
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
)
test_pipeline = [load_image, resize, load_segments, eval_targets, pack_test]

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
panoptic_quality = dict(type='PanopticQuality', prefix='panoptic')
instance_ap = dict(type='InstanceAP', prefix='instance')
semantic_iou = dict(type='SemanticIoU', prefix='semantic')
val_evaluator = [panoptic_quality, instance_ap, semantic_iou]
test_evaluator = val_evaluator
