"""Transforms. Importing this package registers them."""

from .eval_targets import EvalTargets, LoadSemanticTruth
from .large_scale_jitter import LargeScaleJitter
from .load_segments import LoadPanopticSegments
from .sample_task import SampleTask
from .task_targets import TaskTargets
from .task_texts import TaskTexts

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadPanopticSegments',
    'LoadSemanticTruth',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
