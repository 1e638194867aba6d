"""Your label maps: pictures, and PNGs with the number of a class per pixel.

Train: python tools/train.py configs/oneformer_swin-t_own-semantic.py
"""

_base_ = './oneformer_swin-t_coco.py'
metainfo = dict(classes=('sky', 'road', 'car'), thing_classes=('car',))

model = dict(metainfo=metainfo, test_cfg=dict(tasks=['semantic']))
own = dict(type='OneFormerSemanticDataset', data_root='data/mine/')
own.update(metainfo=metainfo, ann_file='', filter_cfg=None)
train = dict(data_prefix=dict(img='images/train/', seg='labels/train/'))
val = dict(data_prefix=dict(img='images/val/', seg='labels/val/'))
train_dataloader = dict(dataset=dict(own, **train))
val_dataloader = dict(dataset=dict(own, **val))
test_dataloader = val_dataloader
val_evaluator = [_base_.val_evaluator[2]]
test_evaluator = val_evaluator
