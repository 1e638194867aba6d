"""Semantic test-time augmentation for Cityscapes: 6 scales x 2 flips."""

_base_ = './semantic_ade20k_512.py'

tta_resize = dict(_base_.tta_resize, scale=(2048, 1024))
tta_scales = [
    dict(tta_resize, scale=(4096, short_side))
    for short_side in (512, 768, 1024, 1280, 1536, 1792)
]
# The panoptic annotation has the ground truth: no LoadSemanticTruth.
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
            _base_.tta_pack,
        ],
    ),
]
