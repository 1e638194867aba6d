"""Backbones that neither mmdet nor mmpretrain has."""

from .dinat import DiNAT
from .plain_vit import PlainViT

__all__ = ['DiNAT', 'PlainViT']
