"""The pixel decoder: Mask2Former's, in float32, with dropout."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import recompute
from .layers.deformable_attention import DeformableAttention
from .layers.deformable_sampling import Levels
from .layers.feed_forward import use_lean_feed_forward

# Pictures of one data set come in few sizes at a time.
KEPT_SIZES = 4


class Geometry(NamedTuple):
    """What depends on the sizes of the levels alone, N tokens in all."""

    levels: Levels
    positions: Tensor  # sine encoding, (1, N, C)
    reference_points: Tensor  # centre of each token, x and y, (1, N, 1, 2)


@MODELS.register_module()
class OneFormerPixelDecoder(MSDeformAttnPixelDecoder):
    """Deformable pixel decoder of Mask2Former as OneFormer trains it.

    Parameters and their names are those of mmdet's
    ``MSDeformAttnPixelDecoder``. It differs in what it computes with: in
    float32 whatever the autocast, matrices start xavier-uniform, and the
    deformable attention runs on any device. It also computes differently:
    no position is padding, so none is masked, and encodings and reference
    points are kept for the last few sizes.

    Args:
        encoder (dict): Config of the encoder, as of mmdet's class.
        attention_backend (str): Of the deformable attention: ``'auto'``,
            ``'mmcv'``, ``'triton'``, ``'grid_sample'`` or ``'pytorch'``.
        follow_autocast (bool): Compute what the surrounding autocast says
            in half precision rather than all in float32, as the reference
            does. The points that the attention samples remain float32, and
            so do the results.
        with_cp (bool): Recompute the layers of the encoder in the backward
            pass, for memory.
        **kwargs: Other arguments of ``MSDeformAttnPixelDecoder``.
    """

    def __init__(
        self,
        encoder: dict,
        attention_backend: str = 'auto',
        follow_autocast: bool = False,
        with_cp: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(encoder=encoder, **kwargs)
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(
                backend=attention_backend, **layer.self_attn_cfg
            )
        use_lean_feed_forward(self.encoder)
        self.with_cp = with_cp
        self.follow_autocast = follow_autocast
        self._geometries: OrderedDict[tuple, Geometry] = OrderedDict()

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
        if self.follow_autocast:
            return self.decode(feats)
        with torch.autocast(feats[0].device.type, enabled=False):
            return self.decode([feat.float() for feat in feats])

    def decode(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Do what :meth:`forward` says, in the precision that it set."""
        coarse_first = feats[::-1]
        maps = self.encode(coarse_first[: self.num_encoder_levels])
        for feat, lateral, merge in zip(
            coarse_first[self.num_encoder_levels :],
            self.lateral_convs,
            self.output_convs,
            strict=True,
        ):
            side = lateral(last_channels(feat))
            above = F.interpolate(
                last_channels(maps[-1]),
                side.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
            maps.append(merge(side + above))
        mask_features = self.mask_feature(maps[-1])
        memories = [level.float() for level in maps[: self.num_outs]]
        return mask_features.float(), memories

    def encode(self, feats: list[Tensor]) -> list[Tensor]:
        """Let the tokens of all levels attend to one another.

        Args:
            feats (list[Tensor]): Features from coarse to fine, each
                (B, C_i, H_i, W_i).

        Returns:
            list[Tensor]: In the same order, each (B, C, H_i, W_i), float32.
        """
        levels, positions, reference_points = self.geometry(
            tuple(tuple(feat.shape[-2:]) for feat in feats), feats[0].device
        )
        tokens = torch.cat(
            [
                project(feat).flatten(2).transpose(1, 2)
                for project, feat in zip(self.input_convs, feats, strict=True)
            ],
            dim=1,
        ).float()  # (B, N, C)
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

    def geometry(
        self, sizes: tuple[tuple[int, int], ...], device: torch.device
    ) -> Geometry:
        """Return what depends on the sizes alone, computed or kept.

        Args:
            sizes (tuple[tuple[int, int], ...]): Height and width of each
                level, from coarse to fine.
            device (torch.device): Where the tensors are to be.
        """
        # A compiler makes constants of it, which are not to be kept here.
        if torch.compiler.is_compiling():
            return self.compute_geometry(sizes, device)
        key = (sizes, device)
        if key not in self._geometries:
            # Else the first prediction would leave tensors that cannot
            # take part in training.
            with torch.inference_mode(False), torch.no_grad():
                self._geometries[key] = self.compute_geometry(sizes, device)
            if len(self._geometries) > KEPT_SIZES:
                self._geometries.popitem(last=False)
        self._geometries.move_to_end(key)
        return self._geometries[key]

    def compute_geometry(
        self, sizes: tuple[tuple[int, int], ...], device: torch.device
    ) -> Geometry:
        """Compute what :meth:`geometry` returns."""
        positions, points = [], []
        for height, width in sizes:
            free = torch.zeros(
                1, height, width, dtype=torch.bool, device=device
            )
            # The name is mmdet's.
            encoding = self.postional_encoding(free)  # (1, C, H, W)
            positions.append(encoding.flatten(2).transpose(1, 2))
            y, x = torch.meshgrid(
                (torch.arange(height, device=device) + 0.5) / height,
                (torch.arange(width, device=device) + 0.5) / width,
                indexing='ij',
            )
            points.append(torch.stack((x, y), dim=-1).flatten(0, 1))
        return Geometry(
            Levels.of(sizes, device),
            torch.cat(positions, dim=1),
            torch.cat(points)[None, :, None],
        )


def last_channels(feat: Tensor) -> Tensor:
    """Lay a map (B, C, H, W) out as the convolutions of a CPU like it."""
    if feat.device.type != 'cpu':
        return feat
    return feat.contiguous(memory_format=torch.channels_last)
