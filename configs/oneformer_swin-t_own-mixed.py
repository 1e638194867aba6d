"""Panoptic, instance-only and semantic-only data in one training.

Train: python tools/train.py configs/oneformer_swin-t_own-mixed.py
"""

_base_ = './oneformer_swin-t_own-panoptic.py'
# A class that a set does not know is not labelled there, not absent.
own = dict(metainfo=_base_.metainfo, missing_classes='ignore')
own.update(pipeline=_base_.train_pipeline)
panoptic = dict(type='OneFormerPanopticDataset', **_base_.train)
panoptic.update(own)
cells = dict(type='OneFormerInstanceDataset', data_root='data/cells/', **own)
cells.update(ann_file='instances.json', data_prefix=dict(img='images/'))
tissue = dict(type='OneFormerSemanticDataset', data_root='data/tissue/', **own)
tissue.update(data_prefix=dict(img='images/', seg='labels/'))
tissue.update(png_classes=('tissue',))
mixed = dict(type='ConcatDataset', datasets=[panoptic, cells, tissue])
train_dataloader = dict(dataset=dict(_delete_=True, **mixed))
