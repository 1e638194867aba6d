"""As oneformer_eomt_shapes.py, with masked attention until the end."""

_base_ = './oneformer_eomt_shapes.py'

custom_hooks = [
    hook for hook in _base_.custom_hooks if hook != _base_.mask_annealing
]
