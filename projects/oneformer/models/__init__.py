"""Modules of the model. Importing this package registers them."""

from .backbones import DiNAT, PretrainedBackbone
from .contrastive_loss import QueryTextContrastiveLoss
from .criterion import OneFormerCriterion
from .deformable_attention import DeformableAttention
from .fusion_head import OneFormerFusionHead
from .matcher import QueryMatcher
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import OneFormerPixelDecoder
from .query_init import QueryInit
from .task_token import TaskToken
from .text_mapper import TextMapper
from .tta import OneFormerTTA
from .weight_init import PretrainedInOrder

__all__ = [
    'DeformableAttention',
    'DiNAT',
    'OneFormer',
    'OneFormerCriterion',
    'OneFormerFusionHead',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'PretrainedBackbone',
    'OneFormerTTA',
    'PretrainedInOrder',
    'QueryInit',
    'QueryMatcher',
    'QueryTextContrastiveLoss',
    'TaskToken',
    'TextMapper',
]
