"""Query initialisation: the task token becomes object queries."""

import torch
from mmdet.models.layers import DetrTransformerDecoder
from mmdet.registry import MODELS
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn

from .layers import recompute
from .layers.attention import use_shared_attention
from .layers.positions import sine_positions


@MODELS.register_module()
class QueryInit(BaseModule):
    """Turn the task token into object queries that have seen the image.

    Each query starts as the task token and attends to the 1/4 feature map in a
    small transformer. As in the released weights, the *values* are only the
    position encoding and the *keys* are position plus projected features: the
    image acts only through the attention weights.

    All queries of the paper start alike and differ by their positions alone,
    which attention sees and the class layer does not. With learned features
    each starts as the task token plus a vector of its own, as the queries of
    Mask2Former do: classes and objects are learned in fewer iterations where
    there are few (docs/results.md).

    Args:
        in_channels (int): Channels of the mask features.
        transformer (dict): Config of mmdet's ``DetrTransformerDecoder``.
        num_queries (int): Object queries and the task token.
        learned_features (bool): Add a learned vector to each object query.
            Released weights have none.
        with_cp (bool): Recompute the transformer in the backward pass, for
            memory.
        init_cfg (dict, optional): Initialization config.

    Source: arXiv:2211.06220, query representations.
    """

    def __init__(
        self,
        in_channels: int,
        transformer: dict,
        num_queries: int,
        learned_features: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.with_cp = with_cp
        self.transformer = DetrTransformerDecoder(
            return_intermediate=False, **transformer
        )
        use_shared_attention(self.transformer.layers)
        self.query_feat = (
            nn.Embedding(num_queries - 1, self.transformer.embed_dims)
            if learned_features
            else None
        )
        self.input_proj = nn.Conv2d(
            in_channels, self.transformer.embed_dims, kernel_size=1
        )

    def init_weights(self) -> None:
        """Initialise as the reference does."""
        super().init_weights()
        caffe2_xavier_init(self.input_proj)
        for param in self.transformer.parameters():
            if param.dim() > 1:
                nn.init.xavier_uniform_(param)

    def forward(
        self, mask_features: Tensor, task_token: Tensor, query_embed: Tensor
    ) -> Tensor:
        """Return the queries that enter the masked-attention decoder.

        Args:
            mask_features (Tensor): Features at stride 4, (B, C, H/4, W/4).
            task_token (Tensor): Normalised task tokens, (T * B, C), the first
                task of all images first, float32 under any autocast.
            query_embed (Tensor): Query positions, (Q, C).

        Returns:
            Tensor: ``Q - 1`` object queries, then the task token,
            (T * B, Q, C).
        """
        positions = sine_positions(mask_features)  # (1, H/4 * W/4, C)
        features = self.input_proj(mask_features).flatten(2).transpose(1, 2)
        task_token = task_token[:, None]  # (T * B, 1, C)
        start = task_token.expand(-1, len(query_embed) - 1, -1)
        if self.query_feat is not None:
            start = start + self.query_feat.weight
        objects = recompute.call(
            self.transformer,
            self.with_cp,
            query=start,
            # One set for all images; the features make the keys differ.
            key=positions,
            value=positions,
            query_pos=query_embed[None, :-1],
            key_pos=features,
            key_padding_mask=None,
        )[-1]  # (T * B, Q - 1, C)
        return torch.cat([objects, task_token], dim=1)
