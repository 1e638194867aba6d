"""Your panoptic data, in the COCO layout.

Train: python tools/train.py configs/oneformer_swin-t_own-panoptic.py
"""

_base_ = './oneformer_swin-t_coco.py'
data_root = 'data/mine/'
metainfo = dict(classes=('cell', 'tissue'), thing_classes=('cell',))

model = dict(metainfo=metainfo)
own = dict(metainfo=metainfo, data_root=data_root)
seg = 'annotations/panoptic_'
train = dict(ann_file=f'{seg}train.json', filter_cfg=None, **own)
train.update(data_prefix=dict(img='train/', seg=f'{seg}train/'))
val = dict(ann_file=f'{seg}val.json', **own)
val.update(data_prefix=dict(img='val/', seg=f'{seg}val/'))
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = val_dataloader
