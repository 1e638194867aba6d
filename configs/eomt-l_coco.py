"""EoMT, DINOv2 ViT-L, COCO at 640 x 640, 12 epochs: the panoptic task alone.

Train: tools/dist_train.sh configs/eomt-l_coco.py 8
Published: 56.0 PQ.
Ours: not trained yet.
"""

_base_ = './oneformer_eomt-l_coco.py'

model = dict(
    panoptic_head=dict(task_token=None),
    train_cfg=dict(text_mapper=None, contrastive_loss=None),
    test_cfg=dict(tasks=['panoptic']),
)

sample_task = dict(type='SampleTask', probs=dict(panoptic=1.0))
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    _base_.scale_jitter,
    sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = [_base_.panoptic_quality]
test_evaluator = val_evaluator
