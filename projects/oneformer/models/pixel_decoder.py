"""The pixel decoder: mmdet's, in float32, with dropout and our attention."""

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn

from .deformable_attention import DeformableAttention


@MODELS.register_module()
class OneFormerPixelDecoder(MSDeformAttnPixelDecoder):
    """Deformable pixel decoder of Mask2Former as OneFormer trains it.

    It differs from mmdet's in three ways: it computes in float32 whatever
    the autocast, its matrices start xavier-uniform, and its deformable
    attention also runs on a GPU without mmcv's compiled op. Arguments are
    those of ``MSDeformAttnPixelDecoder``; the parameter names too.
    """

    def __init__(self, encoder: dict, **kwargs) -> None:
        super().__init__(encoder=encoder, **kwargs)
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(**layer.self_attn_cfg)

    def init_weights(self) -> None:
        """Initialise as the reference does."""
        super().init_weights()
        for param in self.encoder.parameters():
            if param.dim() > 1:
                nn.init.xavier_uniform_(param)
        for layer in self.encoder.layers:
            layer.self_attn.init_weights()

    def forward(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode backbone features.

        Args:
            feats (list[Tensor]): Features at strides 4, 8, 16 and 32,
                each (B, C_i, H_i, W_i).

        Returns:
            tuple[Tensor, list[Tensor]]: Mask features (B, C, H/4, W/4), then
            the memories at 1/32, 1/16 and 1/8, each (B, C, H_i, W_i).
        """
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([feat.float() for feat in feats])
