"""Semantic test-time augmentation for ADE20K at 512: 6 scales x 2 flips.

Run: python tools/test.py CONFIG CHECKPOINT --tta
As published, the scales start from the picture that the test pipeline has
resized: its pixels are resampled twice, as 8-bit integers.
"""

tta_model = dict(type='OneFormerTTA')
tta_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True, backend='pillow'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(3584, short_side),
                    keep_ratio=True,
                    backend='pillow',
                )
                for short_side in (256, 384, 512, 640, 768, 896)
            ],
            [
                dict(type='RandomFlip', prob=0.0),
                dict(type='RandomFlip', prob=1.0),
            ],
            [dict(type='LoadSegments')],
            [dict(type='EvalTargets')],
            [
                dict(
                    type='LoadSemanticTruth',
                    img_prefix='data/ADEChallengeData2016/images/validation',
                    seg_prefix='data/ADEChallengeData2016/'
                    'annotations_detectron2/validation',
                )
            ],
            [
                dict(
                    type='PackDetInputs',
                    meta_keys=(
                        'img_id',
                        'img_path',
                        'ori_shape',
                        'img_shape',
                        'scale_factor',
                        'flip',
                        'flip_direction',
                    ),
                )
            ],
        ],
    ),
]
