"""OneFormer with DiNAT-L, kernel 7 x 7, ImageNet-22k weights."""

_base_ = './oneformer_dinat-l.py'

model = dict(
    backbone=dict(
        kernel_size=7,
        dilations=(
            (1, 18, 1),
            (1, 5, 1, 9),
            (1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4),
            (1, 2, 1, 2, 1),
        ),
        init_cfg=dict(
            checkpoint='https://shi-labs.com/projects/dinat/checkpoints/'
            'imagenet22k/dinat_large_in22k_224.pth'
        ),
    )
)
