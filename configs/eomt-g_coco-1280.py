"""EoMT, DINOv2 ViT-g, COCO at 1280 x 1280, 12 epochs: the panoptic task alone.

Train: tools/dist_train.sh configs/eomt-g_coco-1280.py 8
Published: 59.2 PQ.
Ours: not trained yet.
"""

_base_ = './oneformer_eomt-g_coco-1280.py'

model = _base_.plain_eomt
train_dataloader = dict(dataset=dict(pipeline=_base_.panoptic_train_pipeline))
val_evaluator = [_base_.panoptic_quality]
test_evaluator = val_evaluator
