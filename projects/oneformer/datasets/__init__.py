"""Datasets and transforms. Importing this package registers them."""

from .panoptic_dataset import OneFormerPanopticDataset
from .transforms import (
    EvalTargets,
    LargeScaleJitter,
    LoadPanopticSegments,
    SampleTask,
    SSDColorJitter,
    TaskTargets,
    TaskTexts,
)

__all__ = [
    'EvalTargets',
    'LargeScaleJitter',
    'LoadPanopticSegments',
    'OneFormerPanopticDataset',
    'SSDColorJitter',
    'SampleTask',
    'TaskTargets',
    'TaskTexts',
]
