"""Datasets and transforms. Importing this package registers them."""

from .instance_dataset import OneFormerInstanceDataset
from .panoptic_dataset import OneFormerPanopticDataset
from .semantic_dataset import OneFormerSemanticDataset
from .transforms import (
    EvalTargets,
    LargeScaleJitter,
    LoadImage,
    LoadInstanceSegments,
    LoadPanopticSegments,
    LoadSegments,
    LoadSemanticSegments,
    LoadSemanticTruth,
    PadToSize,
    RandomChoiceResizeCrop,
    SampleTask,
    SSDColorJitter,
    TaskTargets,
    TaskTexts,
)

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadImage',
    'LoadInstanceSegments',
    'LoadPanopticSegments',
    'LoadSegments',
    'LoadSemanticSegments',
    'LoadSemanticTruth',
    'OneFormerInstanceDataset',
    'OneFormerPanopticDataset',
    'OneFormerSemanticDataset',
    'PadToSize',
    'RandomChoiceResizeCrop',
    'SSDColorJitter',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
