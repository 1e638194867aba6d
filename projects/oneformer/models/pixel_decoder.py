"""The pixel decoder: Mask2Former's, in float32, with dropout."""

from typing import NamedTuple

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import recompute
from .layers.deformable_attention import DeformableAttention
from .layers.deformable_sampling import Levels
from .layers.positions import sine_positions_of_size
from .layers.tensor_cache import cache_tensors


class Geometry(NamedTuple):
    """What depends on the sizes of the levels alone, N tokens in all."""

    levels: Levels
    positions: Tensor  # sine encoding, (1, N, C)
    reference_points: Tensor  # centre of each token, x and y, (1, N, 1, 2)


@MODELS.register_module()
class OneFormerPixelDecoder(MSDeformAttnPixelDecoder):
    """Deformable pixel decoder of Mask2Former as OneFormer trains it.

    Parameters and their names are those of mmdet's
    ``MSDeformAttnPixelDecoder``, and so are the results. Unlike it, this one
    computes in float32 under any autocast, initialises matrices
    xavier-uniform, samples by a backend chosen at run time, masks no padding,
    and caches positions and reference points.

    Args:
        encoder (dict): Config of the encoder, as of mmdet's class.
        attention_backend (str): Backend of the deformable attention:
            ``'auto'``, ``'mmcv'``, ``'triton'``, ``'grid_sample'`` or
            ``'pytorch'``.
        positional_encoding (dict, optional): Part of mmdet's interface. The
            model has one encoding,
            ``dict(num_feats=feat_channels // 2, normalize=True)``.
        with_cp (bool): Recompute the layers of the encoder in the backward
            pass, for memory.
        **kwargs: Other arguments of ``MSDeformAttnPixelDecoder``.

    Raises:
        ValueError: If the backend is unknown, or ``positional_encoding`` is
            another one.
    """

    def __init__(
        self,
        encoder: dict,
        attention_backend: str = 'auto',
        positional_encoding: dict | None = None,
        with_cp: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(encoder=encoder, **kwargs)
        self.channels = self.level_encoding.embedding_dim
        expected = dict(num_feats=self.channels // 2, normalize=True)
        if positional_encoding not in (None, expected):
            raise ValueError(
                f'Expected positional_encoding={expected} of the pixel '
                f'decoder, got {positional_encoding}: leave it out.'
            )
        del self.postional_encoding  # mmdet's, spelled so
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(
                backend=attention_backend, **layer.self_attn_cfg
            )
        self.with_cp = with_cp

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
            the memories at 1/32, 1/16 and 1/8, each (B, C, H_i, W_i), all
            float32.
        """
        with torch.autocast(feats[0].device.type, enabled=False):
            coarse_first = [feat.float() for feat in feats[::-1]]
            maps = self.attend(coarse_first[: self.num_encoder_levels])
            for feat, lateral, merge in zip(
                coarse_first[self.num_encoder_levels :],
                self.lateral_convs,
                self.output_convs,
                strict=True,
            ):
                side = lateral(channels_last(feat))
                above = F.interpolate(
                    channels_last(maps[-1]),
                    side.shape[-2:],
                    mode='bilinear',
                    align_corners=False,
                )
                maps.append(merge(side + above))
            return self.mask_feature(maps[-1]), maps[: self.num_outs]

    def attend(self, feats: list[Tensor]) -> list[Tensor]:
        """Let the tokens of all levels attend to one another.

        Args:
            feats (list[Tensor]): Features from coarse to fine, each
                (B, C_i, H_i, W_i).

        Returns:
            list[Tensor]: In the same order, each (B, C, H_i, W_i), float32.
        """
        levels, positions, reference_points = make_geometry(
            tuple(tuple(feat.shape[-2:]) for feat in feats),
            self.channels,
            feats[0].device,
        )
        tokens = torch.cat(
            [
                project(feat).flatten(2).transpose(1, 2)
                for project, feat in zip(self.input_convs, feats, strict=True)
            ],
            dim=1,
        )  # (B, N, C)
        positions = torch.cat(
            [
                position + embedding
                for position, embedding in zip(
                    positions.split(levels.lengths, dim=1),
                    self.level_encoding.weight,
                    strict=True,
                )
            ],
            dim=1,
        )  # (1, N, C)
        for layer in self.encoder.layers:
            tokens = recompute.call(
                layer,
                self.with_cp,
                query=tokens,
                query_pos=positions,
                key_padding_mask=None,
                reference_points=reference_points,
                levels=levels,
            )
        return [
            level.transpose(1, 2).unflatten(-1, size).contiguous()
            for level, size in zip(
                tokens.split(levels.lengths, dim=1), levels.sizes, strict=True
            )
        ]


@cache_tensors(maxsize=4)
def make_geometry(
    sizes: tuple[tuple[int, int], ...], channels: int, device: torch.device
) -> Geometry:
    """Compute what depends on the sizes of the levels alone.

    Results are cached for the last few sizes: the images of one dataset come
    in few sizes at a time.

    Args:
        sizes (tuple[tuple[int, int], ...]): Height and width of each level,
            from coarse to fine.
        channels (int): Of the encoding, C.
        device (torch.device): Of the results.
    """
    points = []
    for height, width in sizes:
        y, x = torch.meshgrid(
            (torch.arange(height, device=device) + 0.5) / height,
            (torch.arange(width, device=device) + 0.5) / width,
            indexing='ij',
        )
        points.append(torch.stack((x, y), dim=-1).flatten(0, 1))
    positions = [
        sine_positions_of_size(size, channels, device) for size in sizes
    ]
    return Geometry(
        Levels.of(sizes, device),
        torch.cat(positions, dim=1),
        torch.cat(points)[None, :, None],
    )


def channels_last(feat: Tensor) -> Tensor:
    """Lay out a map (B, C, H, W) as convolutions on a CPU prefer it."""
    if feat.device.type != 'cpu':
        return feat
    return feat.contiguous(memory_format=torch.channels_last)
