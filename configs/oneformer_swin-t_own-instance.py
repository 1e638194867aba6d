"""Your objects, in the COCO instance layout. No stuff is needed.

Train: python tools/train.py configs/oneformer_swin-t_own-instance.py
"""

_base_ = './oneformer_swin-t_coco.py'
metainfo = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))

model = dict(metainfo=metainfo, test_cfg=dict(tasks=['instance']))
own = dict(type='OneFormerInstanceDataset', data_root='data/mine/')
own.update(metainfo=metainfo, filter_cfg=None)
train = dict(ann_file='annotations/instances_train.json', **own)
val = dict(ann_file='annotations/instances_val.json', **own)
train_dataloader = dict(dataset=dict(data_prefix=dict(img='train/'), **train))
val_dataloader = dict(dataset=dict(data_prefix=dict(img='val/'), **val))
test_dataloader = val_dataloader
val_evaluator = [_base_.val_evaluator[1]]
test_evaluator = val_evaluator
