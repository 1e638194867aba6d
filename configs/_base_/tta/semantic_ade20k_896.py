"""Semantic test-time augmentation for ADE20K at 896: 6 scales x 2 flips.

678 where the pattern has 672: the published scores were measured so.
"""

_base_ = './semantic_ade20k_512.py'

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].update(scale=(3584, 896))
tta_pipeline[-1]['transforms'][0] = [
    dict(tta_pipeline[1], scale=(6272, short_side))
    for short_side in (448, 678, 896, 1120, 1344, 1568)
]
