"""OneFormer on a plain ViT-S, the drawn images of oneformer_shapes.py.

The ViT starts from the weights that oneformer_eomt-s_nuclei.py names.
"""

_base_ = '../../configs/oneformer_eomt-s_nuclei.py'

thing_classes = ('disc', 'square', 'triangle', 'star')
stuff_classes = ('sky', 'grass', 'wall', 'water')
metainfo = dict(
    classes=thing_classes + stuff_classes, thing_classes=thing_classes
)
# As in oneformer_shapes.py.
num_points = 512
size = (96, 96)
model = dict(
    metainfo=metainfo,
    backbone=dict(image_size=size[0]),
    panoptic_head=dict(num_queries=24),
    train_cfg=dict(
        criterion=dict(
            num_points=num_points, matcher=dict(num_points=num_points)
        )
    ),
    test_cfg=dict(tile=None),
)
scale_jitter = dict(_base_.scale_jitter, size=size, ratio_range=(0.8, 1.3))
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    scale_jitter,
    _base_.sample_task,
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        ann_file='annotations/panoptic_test.json',
        data_prefix=dict(img='test/', seg='annotations/panoptic_test/'),
        pipeline=test_pipeline,
    )
)
