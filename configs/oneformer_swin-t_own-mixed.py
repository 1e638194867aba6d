"""Panoptic, instance-only and semantic-only data in one training.

Train: python tools/train.py configs/oneformer_swin-t_own-mixed.py
"""

_base_ = './oneformer_swin-t_own-panoptic.py'

# missing_classes='ignore': a class that a part does not annotate may still
# be in its images.
panoptic = dict(_base_.train_dataloader.dataset, missing_classes='ignore')
cells = dict(
    type='OneFormerInstanceDataset',
    metainfo=_base_.metainfo,
    data_root='data/cells/',
    ann_file='instances.json',
    data_prefix=dict(img='images/'),
    missing_classes='ignore',
    pipeline=_base_.train_pipeline,
)
tissue = dict(
    type='OneFormerSemanticDataset',
    metainfo=_base_.metainfo,
    data_root='data/tissue/',
    data_prefix=dict(img='images/', seg='labels/'),
    png_classes=('tissue',),
    missing_classes='ignore',
    pipeline=_base_.train_pipeline,
)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[panoptic, cells, tissue],
    )
)
