"""The result of an image, without torch and OpenMMLab."""

from .segment import Segment
from .segmentation_result import SegmentationResult

__all__ = ['Segment', 'SegmentationResult']
