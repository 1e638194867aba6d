"""As oneformer_eomt_shapes.py, with masked attention until the end."""

_base_ = './oneformer_eomt_shapes.py'

never = dict(_base_.mask_annealing, start=[1.0] * 3, end=[2.0] * 3)
custom_hooks = [
    never if hook == _base_.mask_annealing else hook
    for hook in _base_.custom_hooks
]
