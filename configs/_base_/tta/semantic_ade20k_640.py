"""Semantic test-time augmentation for ADE20K at 640: 6 scales x 2 flips."""

_base_ = './semantic_ade20k_512.py'

tta_resize = dict(_base_.tta_resize, scale=(2560, 640))
tta_scales = [
    dict(tta_resize, scale=(4480, short_side))
    for short_side in (320, 480, 640, 800, 960, 1120)
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
