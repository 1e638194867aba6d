"""Backbones that neither mmdet nor mmpretrain has, and initial weights."""

from .dinat import DiNAT
from .pretrained import PretrainedBackbone

__all__ = ['DiNAT', 'PretrainedBackbone']
