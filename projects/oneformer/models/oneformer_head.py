"""The OneFormer head: task token, queries, decoder, predictions, losses."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmdet.models.layers import Mask2FormerTransformerDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import recompute
from .layers.attention import use_shared_attention
from .layers.positions import sine_positions
from .query_head import HeadOutput, QueryHead, mask_logits


class PixelFeatures(NamedTuple):
    """Features of images that the decoder uses for every task.

    The lists go from stride 32 over 16 to 8.
    """

    mask_features: Tensor  # (B, C, H/4, W/4)
    memories: list[Tensor]  # (B, H_l * W_l, C)
    positions: list[Tensor]  # (1, H_l * W_l, C)
    level_masks: list[Tensor]  # mask features in that size, (B, C, H_l, W_l)

    def select(self, rows: list[int]) -> 'PixelFeatures':
        """Return the features of some images of the batch."""
        if len(rows) == len(self.mask_features):
            return self
        return PixelFeatures(
            self.mask_features[rows],
            [memory[rows] for memory in self.memories],
            self.positions,
            [masks[rows] for masks in self.level_masks],
        )


@MODELS.register_module()
class OneFormerHead(QueryHead):
    """Predict ``num_queries`` masks and classes for the task asked.

    The last three arguments belong to training; without them (``None``) the
    head has no text branch, and drops that branch's entries when it loads a
    training checkpoint.

    Args:
        in_channels (Sequence[int]): Channels of the backbone features.
        feat_channels (int): Width of queries and features, C.
        num_classes (int): Number of classes, K.
        num_queries (int): Number of queries, including the task token, Q.
        pixel_decoder (dict): Config of the pixel decoder.
        task_token (dict): Config of the task token.
        query_init (dict): Config of the query initialisation.
        transformer_decoder (dict): Config of mmdet's
            ``Mask2FormerTransformerDecoder``.
        criterion (dict, optional): Config of the classification and mask
            losses.
        text_mapper (dict, optional): Config of the text branch.
        contrastive_loss (dict, optional): Config of the query-text loss.
        with_cp (bool): Recompute the layers of the decoder in the backward
            pass, for memory.
        init_cfg (dict, optional): Initialization config.

    Source: arXiv:2211.06220.
    """

    stride = 32

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int,
        num_classes: int,
        num_queries: int,
        pixel_decoder: dict,
        task_token: dict,
        query_init: dict,
        transformer_decoder: dict,
        criterion: dict | None = None,
        text_mapper: dict | None = None,
        contrastive_loss: dict | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, init_cfg=init_cfg)
        self.with_cp = with_cp
        width = feat_channels
        self.pixel_decoder = MODELS.build(
            dict(
                pixel_decoder,
                in_channels=list(in_channels),
                feat_channels=width,
                out_channels=width,
            )
        )
        self.task_token = MODELS.build(dict(task_token, embed_dims=width))
        self.query_init = MODELS.build(
            dict(query_init, in_channels=width, num_queries=num_queries)
        )
        self.decoder = Mask2FormerTransformerDecoder(**transformer_decoder)
        use_shared_attention(self.decoder.layers)
        self.num_levels = self.pixel_decoder.num_outs
        self.query_embed = nn.Embedding(num_queries, width)
        self.level_embed = nn.Embedding(self.num_levels, width)
        self.cls_embed = nn.Linear(width, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
        )

        if criterion and text_mapper and contrastive_loss:
            self.build_training_parts(
                criterion, text_mapper, contrastive_loss, num_queries, width
            )
        elif criterion or text_mapper or contrastive_loss:
            raise ValueError(
                'criterion, text_mapper and contrastive_loss are needed '
                'together for training: give all three in train_cfg, or set '
                'train_cfg=None for an inference model.'
            )

    def init_weights(self) -> None:
        """Initialise as the reference does."""
        super().init_weights()
        for param in self.decoder.parameters():
            if param.dim() > 1:
                nn.init.xavier_uniform_(param)

    def pixel_features(self, feats: Sequence[Tensor]) -> PixelFeatures:
        """Run the pixel decoder; nothing of it depends on the task.

        Args:
            feats (Sequence[Tensor]): Backbone features at strides 4 to 32,
                each (B, C_i, H_i, W_i).
        """
        return self.features_of_maps(*self.pixel_decoder(list(feats)))

    def shared_tensors(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the maps of the pixel decoder."""
        mask_features, maps = self.pixel_decoder(list(feats))
        memories = {
            f'memory_{self.stride >> level}': level_map
            for level, level_map in enumerate(maps)
        }
        return dict(mask_features=mask_features, **memories)

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> PixelFeatures:
        """Return :meth:`pixel_features` of :meth:`shared_tensors`."""
        mask_features, *maps = tensors.values()
        return self.features_of_maps(mask_features, maps)

    def features_of_maps(
        self, mask_features: Tensor, maps: Sequence[Tensor]
    ) -> PixelFeatures:
        """Return what the decoder uses, from what the pixel decoder gives.

        Args:
            mask_features (Tensor): (B, C, H/4, W/4).
            maps (Sequence[Tensor]): At strides 32, 16 and 8, each
                (B, C, H_l, W_l).
        """
        levels = self.level_embed.weight[:, None]  # (levels, 1, C)
        return PixelFeatures(
            mask_features,
            memories=[
                level_map.flatten(2).transpose(1, 2) + level
                for level_map, level in zip(maps, levels, strict=True)
            ],
            positions=[sine_positions(level_map) for level_map in maps],
            # Masks are linear in the features and so is resizing: one resize
            # per level stands for one per layer and query.
            level_masks=[
                F.interpolate(
                    mask_features.detach(),
                    level_map.shape[-2:],
                    mode='bilinear',
                    align_corners=False,
                )
                for level_map in maps
            ],
        )

    def decode(
        self, pixels: PixelFeatures, tasks: Sequence[str]
    ) -> HeadOutput:
        """Predict before and after each layer; see :meth:`QueryHead.decode`.

        Several tasks share everything that depends only on the images: keys,
        values and masks are not repeated for each task. The queries of the
        output are those before the first layer.
        """
        return self.decode_ids(pixels, self.task_token.ids_of(tasks))

    def decode_indices(
        self, pixels: PixelFeatures, tasks: Tensor
    ) -> HeadOutput:
        """Decode as :meth:`decode`, for tasks as indices in ``TASKS``."""
        return self.decode_ids(pixels, self.task_token.token_ids[tasks])

    def decode_ids(
        self, pixels: PixelFeatures, task_ids: Tensor
    ) -> HeadOutput:
        """Decode as :meth:`decode`, from the token ids of the tasks.

        Args:
            pixels (PixelFeatures): Of B images.
            task_ids (Tensor): See :meth:`TaskToken.ids_of`, (T * B, 77).
        """
        token = self.decoder.post_norm(self.task_token.embed(task_ids))
        query_embed = self.query_embed.weight  # (Q, C)
        queries = self.query_init(pixels.mask_features, token, query_embed)
        query_pos = query_embed[None]  # (1, Q, C)

        x = queries
        cls_scores, mask_embeds = [], []
        for i, layer in enumerate(self.decoder.layers):
            scores, embeds = self.classify_and_embed(x)
            cls_scores.append(scores)
            mask_embeds.append(embeds)
            level = i % self.num_levels
            x = recompute.call(
                layer,
                self.with_cp,
                query=x,
                key=pixels.memories[level],
                value=pixels.memories[level],
                query_pos=query_pos,
                key_pos=pixels.positions[level],
                cross_attn_mask=self.attention_mask(
                    embeds, pixels.level_masks[level]
                ),
            )
        scores, embeds = self.classify_and_embed(x)
        return HeadOutput(
            cls_scores + [scores],
            mask_embeds + [embeds],
            pixels.mask_features,
            queries,
        )

    def classify_and_embed(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (B, Q, K + 1) and mask embeddings (B, Q, C)."""
        queries = self.decoder.post_norm(queries)
        return self.cls_embed(queries), self.mask_embed(queries)

    def attention_mask(self, mask_embeds: Tensor, features: Tensor) -> Tensor:
        """Keep each query to the foreground of the mask it predicts.

        Args:
            mask_embeds (Tensor): Mask embeddings, (T * B, Q, C).
            features (Tensor): Mask features in the size of the level,
                (B, C, h, w).

        Returns:
            Tensor: True where attention is blocked, (T * B, Q, h * w). A
            query without foreground attends everywhere.
        """
        logits = mask_logits(mask_embeds.detach(), features).flatten(2)
        blocked = logits < 0  # probability below 0.5, (B, Q, h * w)
        return blocked & ~blocked.all(-1, keepdim=True)
