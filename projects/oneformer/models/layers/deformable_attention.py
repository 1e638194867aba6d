"""Multi-scale deformable attention on the backend that suits the device."""

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmdet.registry import MODELS
from torch import Tensor, nn

from .deformable_backends import BACKENDS
from .deformable_sampling import Levels, sample_grid, sample_rows
from .dropout import Dropout


@MODELS.register_module()
class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's deformable attention with the backend chosen at run time.

    Parameters and their names are those of mmcv's module. The choice is
    logged once per device and type.

    Args:
        backend (str): ``'auto'``, ``'mmcv'``, ``'triton'``,
            ``'grid_sample'`` or ``'pytorch'``.
        **options: Options of mmcv's module, with ``batch_first=True``.

    Raises:
        ValueError: If there is no such backend.
    """

    dropout: nn.Dropout

    def __init__(self, *, backend: str = 'auto', **options) -> None:
        super().__init__(**options)
        BACKENDS.check_name(backend)
        self.backend = backend
        self.dropout = Dropout(self.dropout.p)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        key_padding_mask: Tensor | None,
        reference_points: Tensor,
        levels: Levels,
    ) -> Tensor:
        """Attend to a few points around each query on every level.

        The first six arguments are those that mmdet's encoder layer passes to
        any attention. Deformable attention uses neither ``key`` nor
        ``key_pos``, and no position is padding in this model.

        Args:
            query (Tensor): Features of all levels, (B, N, C).
            key (Tensor): Not used.
            value (Tensor): Features to sample, (B, N, C).
            query_pos (Tensor): Position of each query, (B or 1, N, C).
            key_pos (Tensor): Not used.
            key_padding_mask (Tensor | None): Not used.
            reference_points (Tensor): In [0, 1], x and y,
                (B or 1, N, levels or 1, 2).
            levels (Levels): Sizes of the levels, N tokens in all.

        Returns:
            Tensor: Query plus attended values, (B, N, C).
        """
        values = self.value_proj(value).unflatten(-1, (self.num_heads, -1))
        # Half precision would move the points by a good part of a pixel.
        with torch.autocast(query.device.type, enabled=False):
            locations, weights = self.choose_points(
                query + query_pos, reference_points, levels
            )
        sampled = self.sample(values, levels, locations, weights)
        return query + self.dropout(self.output_proj(sampled))

    def choose_points(
        self, position: Tensor, reference_points: Tensor, levels: Levels
    ) -> tuple[Tensor, Tensor]:
        """Where each query looks, and how much it attends to each point.

        Args:
            position (Tensor): Query plus its position, (B, N, C).
            reference_points (Tensor): In [0, 1], x and y,
                (B or 1, N, levels or 1, 2).
            levels (Levels): Sizes of the levels.

        Returns:
            tuple[Tensor, Tensor]: Locations, 0 and 1 being the borders of a
            map, (B, N, heads, levels, points, 2), and weights that sum to 1
            over levels and points, (B, N, heads, levels, points).
        """
        heads, points = self.num_heads, (self.num_levels, self.num_points)
        # Flat (level, point, x or y): many short rows are slow on a CPU.
        offsets = self.sampling_offsets(position).unflatten(-1, (heads, -1))
        references = reference_points[:, :, :, None].expand(
            -1, -1, *points, -1
        )
        widths = levels.shapes.flip(-1)[:, None].expand(*points, -1)
        widths = widths.flatten().to(offsets.dtype)
        locations = references.flatten(2)[:, :, None] + offsets / widths
        weights = self.attention_weights(position).unflatten(-1, (heads, -1))
        return (
            locations.unflatten(-1, (*points, 2)),
            weights.softmax(-1).unflatten(-1, points),
        )

    def sample(
        self,
        values: Tensor,
        levels: Levels,
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Sum what each query samples, (B, N, C), by the chosen backend.

        The arguments are those of ``sample_grid``.
        """
        backend = BACKENDS.choose(
            self.backend,
            values.device.type,
            values.dtype,
            torch.compiler.is_compiling(),
        )
        if backend == 'pytorch':
            return sample_rows(values, levels, locations, weights)
        if backend == 'grid_sample':
            return sample_grid(values, levels, locations, weights)
        if backend == 'triton':
            from .deformable_triton import sample_triton

            return sample_triton(values, levels, locations, weights)
        return MultiScaleDeformableAttnFunction.apply(
            values,
            levels.shapes,
            levels.starts,
            locations,
            weights,
            self.im2col_step,
        )
