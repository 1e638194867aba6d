"""Backbones that neither mmdet nor mmpretrain has."""

from .dinat import DiNAT

__all__ = ['DiNAT']
