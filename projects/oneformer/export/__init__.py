"""Trained models as files that run without torch."""

from .onnx_files import Deviation, export_onnx

__all__ = ['Deviation', 'export_onnx']
