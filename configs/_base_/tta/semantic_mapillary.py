"""Semantic test-time augmentation for Mapillary Vistas: 6 scales x 2 flips.

The test pipeline brings the long side to 2048; the scales are short sides.
"""

_base_ = './semantic_ade20k_512.py'

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].update(scale=(2048, 2048))
tta_pipeline[-1]['transforms'][0] = [
    dict(tta_pipeline[1], scale=(4096, short_side))
    for short_side in (512, 768, 1024, 1280, 1536, 1792)
]
# The truth comes from the panoptic annotation.
tta_pipeline[-1]['transforms'].pop(4)  # LoadSemanticTruth
