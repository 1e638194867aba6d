"""Exported models without torch: onnxruntime or OpenVINO, and NumPy."""

from .segmenter import OnnxSegmenter

__all__ = ['OnnxSegmenter']
