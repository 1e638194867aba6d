"""Semantic test-time augmentation for ADE20K at 1280: 6 scales x 2 flips."""

_base_ = './semantic_ade20k_512.py'

tta_resize = dict(_base_.tta_resize, scale=(5120, 1280))
tta_scales = [
    dict(tta_resize, scale=(8960, short_side))
    for short_side in (640, 960, 1280, 1600, 1920, 2240)
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
