"""Semantic test-time augmentation for ADE20K at 640: 6 scales x 2 flips."""

_base_ = './semantic_ade20k_512.py'

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].update(scale=(2560, 640))
tta_pipeline[-1]['transforms'][0] = [
    dict(tta_pipeline[1], scale=(4480, short_side))
    for short_side in (320, 480, 640, 800, 960, 1120)
]
