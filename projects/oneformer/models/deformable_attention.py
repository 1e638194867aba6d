"""Multi-scale deformable attention that runs with and without mmcv's op."""

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ..compat import has_compiled_ops

_announced: set[tuple[str, str]] = set()


def select_backend(
    device_type: str, dtype: torch.dtype = torch.float32
) -> tuple[str, str]:
    """Choose how the sampling of deformable attention is computed.

    Args:
        device_type (str): ``'cpu'``, ``'cuda'``, ...
        dtype (torch.dtype): Type of the values.

    Returns:
        tuple[str, str]: ``'mmcv'`` (compiled op) or ``'pytorch'``, and why.
    """
    if device_type != 'cuda':
        return 'pytorch', f'the compiled op of mmcv has no {device_type} code'
    if not has_compiled_ops():
        return 'pytorch', 'mmcv is installed without compiled ops'
    if dtype not in (torch.float32, torch.float64):
        return 'pytorch', f'the compiled op of mmcv is not used in {dtype}'
    return 'mmcv', 'compiled op of mmcv'


@MODELS.register_module()
class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's deformable attention with the backend chosen at run time.

    Parameters and their names are those of mmcv's module. The choice is
    logged once per device and type.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        key_padding_mask: Tensor,
        reference_points: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        valid_ratios: Tensor,
    ) -> Tensor:
        """Attend to a few points around each query on every level.

        The signature is what mmdet's encoder layer calls. ``key``,
        ``key_pos`` and ``valid_ratios`` have no part in deformable
        attention, and no position is padding in this model.

        Args:
            query (Tensor): Features of all levels, (B, N, C).
            key (Tensor): Not used.
            value (Tensor): Features to sample, (B, N, C).
            query_pos (Tensor): Position of each query, (B, N, C).
            key_pos (Tensor): Not used.
            key_padding_mask (Tensor): All False, not used.
            reference_points (Tensor): In [0, 1], (B, N, levels, 2) as x, y.
            spatial_shapes (Tensor): Height and width per level, (levels, 2).
            level_start_index (Tensor): First token per level, (levels,).
            valid_ratios (Tensor): All ones, not used.

        Returns:
            Tensor: Query plus attended values, (B, N, C).
        """
        batch, length, _ = query.shape
        heads, levels = self.num_heads, self.num_levels
        position = query + query_pos
        values = self.value_proj(value).view(batch, length, heads, -1)
        offsets = self.sampling_offsets(position).view(
            batch, length, heads, levels, self.num_points, 2
        )
        weights = self.attention_weights(position).view(
            batch, length, heads, levels * self.num_points
        )
        weights = weights.softmax(-1).view(offsets.shape[:-1])
        sizes = spatial_shapes.flip(-1)[:, None]  # (levels, 1, 2) as w, h
        locations = reference_points[:, :, None, :, None] + offsets / sizes
        backend, reason = select_backend(values.device.type, values.dtype)
        _announce(backend, reason)
        if backend == 'mmcv':
            sampled = MultiScaleDeformableAttnFunction.apply(
                values,
                spatial_shapes,
                level_start_index,
                locations,
                weights,
                self.im2col_step,
            )
        else:
            sampled = multi_scale_deformable_attn_pytorch(
                values, spatial_shapes, locations, weights
            )
        return query + self.dropout(self.output_proj(sampled))


def _announce(backend: str, reason: str) -> None:
    if (backend, reason) not in _announced:
        _announced.add((backend, reason))
        print_log(
            f'Deformable attention runs on {backend}: {reason}.',
            logger='current',
        )
