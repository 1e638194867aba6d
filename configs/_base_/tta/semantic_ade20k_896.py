"""Semantic test-time augmentation for ADE20K at 896: 6 scales x 2 flips.

678 where the pattern has 672: the published scores were measured so.
"""

_base_ = './semantic_ade20k_512.py'

tta_resize = dict(_base_.tta_resize, scale=(3584, 896))
tta_scales = [
    dict(tta_resize, scale=(6272, short_side))
    for short_side in (448, 678, 896, 1120, 1344, 1568)
]
tta_pipeline = [
    _base_.tta_load_image,
    tta_resize,
    dict(
        type='TestTimeAug',
        transforms=[
            tta_scales,
            _base_.tta_flips,
            _base_.tta_load_segments,
            _base_.tta_eval_targets,
            _base_.tta_load_semantic_truth,
            _base_.tta_pack,
        ],
    ),
]
