"""Semantic test-time augmentation for ADE20K at 1280: 6 scales x 2 flips."""

_base_ = './semantic_ade20k_512.py'

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].update(scale=(5120, 1280))
tta_pipeline[-1]['transforms'][0] = [
    dict(tta_pipeline[1], scale=(8960, short_side))
    for short_side in (640, 960, 1280, 1600, 1920, 2240)
]
