"""Modules of the model. Importing this package registers them."""

from .backbones import DiNAT, PlainViT
from .eomt_head import EoMTHead
from .fusion_head import OneFormerFusionHead
from .layers.deformable_attention import DeformableAttention
from .losses.contrastive_loss import QueryTextContrastiveLoss
from .losses.criterion import OneFormerCriterion
from .losses.matcher import QueryMatcher
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import OneFormerPixelDecoder
from .query_init import QueryInit
from .task_token import TaskToken
from .text_mapper import TextMapper
from .tta import OneFormerTTA

__all__ = [
    'DeformableAttention',
    'DiNAT',
    'EoMTHead',
    'OneFormer',
    'OneFormerCriterion',
    'OneFormerFusionHead',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'OneFormerTTA',
    'PlainViT',
    'QueryInit',
    'QueryMatcher',
    'QueryTextContrastiveLoss',
    'TaskToken',
    'TextMapper',
]
