"""Datasets and transforms. Importing this package registers them."""

from .panoptic_dataset import OneFormerPanopticDataset
from .transforms import (
    EvalTargets,
    LargeScaleJitter,
    LoadPanopticSegments,
    LoadSemanticTruth,
    SampleTask,
    TaskTargets,
    TaskTexts,
)

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadPanopticSegments',
    'LoadSemanticTruth',
    'OneFormerPanopticDataset',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
