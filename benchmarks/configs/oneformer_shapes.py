"""The tiny OneFormer of the demo on hard drawn images of 96 x 96 pixels.

Its data has a test split; evidence.py draws it.
"""

_base_ = '../../configs/oneformer_r18_demo.py'

# As in the paper.
model = dict(panoptic_head=dict(query_init=dict(learned_features=False)))
size = (96, 96)
scale_jitter = dict(_base_.scale_jitter, size=size)
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
