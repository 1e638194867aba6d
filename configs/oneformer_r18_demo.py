"""The demo: a tiny OneFormer, three tasks, trained in minutes on a CPU.

Run: make demo
"""

_base_ = [
    './_base_/models/oneformer_r18_tiny.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/adamw_tiny.py',
    './_base_/default_runtime.py',
]

thing_classes = ('disc', 'square', 'triangle', 'star')
stuff_classes = ('sky', 'grass', 'wall', 'water')
metainfo = dict(
    classes=thing_classes + stuff_classes, thing_classes=thing_classes
)
model = dict(metainfo=metainfo)

default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1))
