"""Transforms. Importing this package registers them."""

from .eval_targets import EvalTargets
from .large_scale_jitter import LargeScaleJitter
from .load_segments import LoadPanopticSegments
from .sample_task import SampleTask
from .ssd_color_jitter import SSDColorJitter
from .task_targets import TaskTargets
from .task_texts import TaskTexts

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadPanopticSegments',
    'SSDColorJitter',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
