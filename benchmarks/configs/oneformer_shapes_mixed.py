"""Hard drawn images, of which half have a panoptic annotation.

A quarter has the instances of two classes, a quarter label maps of stuff.
"""

_base_ = './oneformer_shapes.py'

# How a class, or a pixel, that a part does not label is taken.
missing_classes = void = 'ignore'
own = dict(
    metainfo=_base_.metainfo,
    data_root=_base_.data_root,
    pipeline=_base_.train_pipeline,
)
panoptic = dict(
    type='OneFormerPanopticDataset',
    ann_file='annotations/panoptic_train.json',
    data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
    indices=list(range(0, 320, 2)),
    **own,
)
instance = dict(
    type='OneFormerInstanceDataset',
    ann_file='annotations/instances_train_some.json',
    data_prefix=dict(img='train/'),
    indices=list(range(1, 320, 4)),
    missing_classes=missing_classes,
    **own,
)
semantic = dict(
    type='OneFormerSemanticDataset',
    data_prefix=dict(img='train/', seg='annotations/semantic_train/'),
    # Values of other names are void.
    png_classes=('-', '--', '---', '----', *_base_.stuff_classes),
    indices=list(range(3, 320, 4)),
    missing_classes=missing_classes,
    void=void,
    **own,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[panoptic, instance, semantic],
    )
)
