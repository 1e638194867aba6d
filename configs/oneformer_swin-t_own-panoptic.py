"""Your panoptic data, in the COCO layout.

Train: python tools/train.py configs/oneformer_swin-t_own-panoptic.py
"""

_base_ = './oneformer_swin-t_coco.py'

metainfo = dict(classes=('cell', 'tissue'), thing_classes=('cell',))
data_root = 'data/mine/'

model = dict(metainfo=metainfo)

train_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        filter_cfg=None,
    )
)
val_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
    )
)
test_dataloader = val_dataloader
