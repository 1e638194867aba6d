"""Your objects, in the COCO instance layout. No stuff is needed.

Train: python tools/train.py configs/oneformer_swin-t_own-instance.py
"""

_base_ = './oneformer_swin-t_coco.py'

metainfo = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
data_root = 'data/mine/'

model = dict(metainfo=metainfo, test_cfg=dict(tasks=['instance']))

train_dataloader = dict(
    dataset=dict(
        type='OneFormerInstanceDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=None,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='OneFormerInstanceDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        filter_cfg=None,
    )
)
test_dataloader = val_dataloader

val_evaluator = [_base_.instance_ap]
test_evaluator = val_evaluator
