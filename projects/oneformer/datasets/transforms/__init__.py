"""Transforms. Importing this package registers them."""

from .eval_targets import EvalTargets
from .large_scale_jitter import LargeScaleJitter
from .load_image import LoadImage
from .load_segments import (
    LoadInstanceSegments,
    LoadPanopticSegments,
    LoadSegments,
    LoadSemanticSegments,
)
from .load_semantic_truth import LoadSemanticTruth
from .pad_to_size import PadToSize
from .random_choice_resize_crop import RandomChoiceResizeCrop
from .sample_task import SampleTask
from .ssd_color_jitter import SSDColorJitter
from .task_targets import TaskTargets
from .task_texts import TaskTexts

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadImage',
    'LoadInstanceSegments',
    'LoadPanopticSegments',
    'LoadSegments',
    'LoadSemanticSegments',
    'LoadSemanticTruth',
    'PadToSize',
    'RandomChoiceResizeCrop',
    'SSDColorJitter',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
