"""Semantic test-time augmentation for ADE20K at 512: 6 scales x 2 flips.

Run: python tools/test.py CONFIG CHECKPOINT --tta
As published, the scales start from the image that the test pipeline has
resized: its pixels are resampled twice, as 8-bit integers.
"""

tta_model = dict(type='OneFormerTTA')

tta_load_image = dict(type='LoadImageFromFile', _scope_='projects.oneformer')
tta_resize = dict(
    type='Resize', scale=(2048, 512), keep_ratio=True, backend='pillow'
)
# One list of alternatives each; all are combined.
tta_scales = [
    dict(tta_resize, scale=(3584, short_side))
    for short_side in (256, 384, 512, 640, 768, 896)
]
tta_flips = [
    dict(type='RandomFlip', prob=0.0),
    dict(type='RandomFlip', prob=1.0),
]
tta_load_segments = [dict(type='LoadSegments')]
tta_eval_targets = [dict(type='EvalTargets')]
tta_load_semantic_truth = [
    dict(
        type='LoadSemanticTruth',
        img_prefix='data/ADEChallengeData2016/images/validation',
        seg_prefix='data/ADEChallengeData2016/'
        'annotations_detectron2/validation',
    )
]
tta_pack = [
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
]
tta_pipeline = [
    tta_load_image,
    tta_resize,
    dict(
        type='TestTimeAug',
        transforms=[
            tta_scales,
            tta_flips,
            tta_load_segments,
            tta_eval_targets,
            tta_load_semantic_truth,
            tta_pack,
        ],
    ),
]
