"""Your label maps: images, and PNGs with the number of a class per pixel.

Train: python tools/train.py configs/oneformer_swin-t_own-semantic.py
"""

_base_ = './oneformer_swin-t_coco.py'

metainfo = dict(classes=('sky', 'road', 'car'), thing_classes=('car',))
data_root = 'data/mine/'

model = dict(metainfo=metainfo, test_cfg=dict(tasks=['semantic']))

train_dataloader = dict(
    dataset=dict(
        type='OneFormerSemanticDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='',
        data_prefix=dict(img='images/train/', seg='labels/train/'),
        filter_cfg=None,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='OneFormerSemanticDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='',
        data_prefix=dict(img='images/val/', seg='labels/val/'),
        filter_cfg=None,
    )
)
test_dataloader = val_dataloader

val_evaluator = [_base_.semantic_iou]
test_evaluator = val_evaluator
