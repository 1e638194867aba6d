"""OneFormer with ConvNeXt-L of mmpretrain, 150 queries."""

_base_ = './oneformer_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='large',
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/'
            'convnext_large_22k_1k_384.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536]),
)
