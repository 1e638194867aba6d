"""EoMT, DINOv3 ViT-L, COCO at 640 x 640, 12 epochs: the panoptic task alone.

Train: tools/dist_train.sh configs/eomt-l-dinov3_coco.py 8
Published: 56.8 PQ.
Ours: not trained yet.
"""

_base_ = './oneformer_eomt-l-dinov3_coco.py'

model = _base_.plain_eomt
train_dataloader = dict(dataset=dict(pipeline=_base_.panoptic_train_pipeline))
val_evaluator = [_base_.panoptic_quality]
test_evaluator = val_evaluator
