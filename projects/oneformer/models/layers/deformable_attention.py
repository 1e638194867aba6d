"""Multi-scale deformable attention, computed by what suits the device."""

import functools
import importlib.util
import logging

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ...mmcv_ops import has_compiled_ops
from .deformable_sampling import Levels, sample_grid, sample_rows
from .dropout import Dropout

# The backends of each type of device, the first that can is taken.
PREFERENCES = dict(
    cpu=('pytorch', 'grid_sample'),
    cuda=('mmcv', 'triton', 'grid_sample', 'pytorch'),
)
BACKENDS = ('auto', *PREFERENCES['cuda'])
DESCRIPTIONS = dict(
    mmcv='compiled op of mmcv',
    triton='Triton kernels, checked on this device',
    grid_sample='PyTorch, one grid_sample a level',
    pytorch='PyTorch, one embedding_bag for all levels',
)
# Largest deviation from PyTorch that rounding explains, relative to the
# largest value.
TOLERANCES = {
    torch.float32: 1e-4,
    torch.float16: 4e-3,
    torch.bfloat16: 2e-2,
}


def select_backend(
    device_type: str,
    dtype: torch.dtype = torch.float32,
    wanted: str = 'auto',
    compiling: bool = False,
) -> tuple[str, str]:
    """Choose how the sampling of deformable attention is computed.

    Args:
        device_type (str): ``'cpu'``, ``'cuda'``, ...
        dtype (torch.dtype): Type of the values.
        wanted (str): ``'auto'``, or the backend to take.
        compiling (bool): Whether ``torch.compile`` is to trace it.

    Returns:
        tuple[str, str]: ``'mmcv'`` (compiled op), ``'triton'``,
        ``'grid_sample'`` or ``'pytorch'``, and why.

    Raises:
        ValueError: If ``wanted`` is no backend, or cannot run here.
    """
    if wanted not in BACKENDS:
        raise ValueError(
            f'Deformable attention has no backend {wanted!r}: set '
            f'attention_backend of the pixel decoder to one of {BACKENDS}.'
        )
    if wanted != 'auto':
        if problem := objection(wanted, device_type, dtype, compiling):
            raise ValueError(
                f'Deformable attention cannot run on {wanted}: {problem}. '
                "Set attention_backend of the pixel decoder to 'auto'."
            )
        return wanted, f'{DESCRIPTIONS[wanted]}, as asked'
    problems = []
    for backend in PREFERENCES.get(device_type, ('grid_sample',)):
        problem = objection(backend, device_type, dtype, compiling)
        if problem is None:
            break
        problems.append(problem)
    return backend, '; '.join([DESCRIPTIONS[backend], *problems])


def objection(
    backend: str, device_type: str, dtype: torch.dtype, compiling: bool
) -> str | None:
    """Why a backend cannot compute values of a type, or None if it can."""
    if backend == 'mmcv':
        return _objection_to_mmcv(device_type, dtype, compiling)
    if backend == 'triton':
        return _objection_to_triton(device_type, dtype)
    if backend == 'grid_sample' and device_type == 'cuda':
        return _disorder('grid_sample')
    if backend == 'pytorch' and _exporting():
        return 'this use of embedding_bag is not exported'
    return None


def _objection_to_mmcv(
    device_type: str, dtype: torch.dtype, compiling: bool
) -> str | None:
    if device_type != 'cuda':
        return f'the compiled op of mmcv has no {device_type} code'
    if not has_compiled_ops():
        return 'mmcv is installed without compiled ops'
    if dtype not in (torch.float32, torch.float64):
        return f'the compiled op of mmcv is not used in {dtype}'
    if compiling:
        return 'torch.compile cannot trace the compiled op of mmcv'
    return _disorder('the compiled op of mmcv')


def _objection_to_triton(device_type: str, dtype: torch.dtype) -> str | None:
    if device_type != 'cuda':
        return f'the Triton kernels are not used on {device_type}'
    if dtype not in TOLERANCES:
        return f'the Triton kernels do not compute {dtype}'
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed'
    if _exporting():
        return 'Triton kernels are not exported'
    return _disorder('the Triton kernel') or check_triton(dtype)


def _disorder(what: str) -> str | None:
    if torch.are_deterministic_algorithms_enabled():
        return f'{what} adds gradients in no fixed order'
    return None


def _exporting() -> bool:
    """Whether to ONNX, or to a graph that counts operations."""
    return torch.onnx.is_in_onnx_export() or torch.jit.is_tracing()


@functools.cache
def check_triton(dtype: torch.dtype) -> str | None:
    """Run the Triton kernels once and compare them with PyTorch.

    Triton compiles for the GPU it finds, and no test can have seen every
    GPU. A problem is logged as a warning, once per process and type.

    Returns:
        str | None: What is wrong, or None if the kernels can be used.
    """
    try:
        deviation = triton_deviation(dtype, 'cuda')
    # Compilers and drivers may raise anything; PyTorch computes it then.
    except Exception as error:
        reason = str(error).partition('\n')[0]
        problem = f'the Triton kernels fail: {type(error).__name__}: {reason}'
    else:
        if deviation <= TOLERANCES[dtype]:
            return None
        problem = f'the Triton kernels are off by {deviation:.1e} in {dtype}'
    print_log(
        f'Deformable attention does without Triton: {problem}.',
        logger='current',
        level=logging.WARNING,
    )
    return problem


@torch.inference_mode(False)
@torch.enable_grad()
def triton_deviation(dtype: torch.dtype, device: str) -> float:
    """How far the Triton kernels are from PyTorch on a tiny input.

    Returns:
        float: Largest difference in the result and its three gradients,
        relative to the largest value; NaN where a kernel gives NaN.
    """
    from .deformable_triton import sample_triton

    inputs = _tiny_inputs(dtype, device)
    levels = Levels.of(((3, 4), (1, 2), (7, 5)), device)
    deviations = []
    for found, expected in zip(
        _result_and_gradients(sample_triton, levels, *inputs),
        _result_and_gradients(sample_grid, levels, *inputs),
        strict=True,
    ):
        difference = (found.float() - expected.float()).abs().max()
        deviations.append(difference / expected.float().abs().max())
    return torch.stack(deviations).max().item()


def _tiny_inputs(dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """49 tokens, and 40 queries that also look beyond the maps."""
    draw = functools.partial(
        torch.rand, generator=torch.Generator().manual_seed(0)
    )
    value = draw(2, 49, 2, 32) - 0.5
    locations = draw(2, 40, 2, 3, 4, 2) * 1.4 - 0.2
    weights = draw(2, 40, 2, 3, 4)
    return value.to(device, dtype), locations.to(device), weights.to(device)


def _result_and_gradients(
    sample, levels: Levels, *inputs: Tensor
) -> tuple[Tensor, ...]:
    value, locations, weights = (x.clone().requires_grad_() for x in inputs)
    result = sample(value, levels, locations, weights)
    received = torch.linspace(-1, 1, result.numel(), device=result.device)
    return result, *torch.autograd.grad(
        result,
        (value, locations, weights),
        received.view_as(result).to(result.dtype),
    )


# While torch.compile traces, this runs as it is and its result is constant.
# It does not see by itself that something is compiling.
@torch.compiler.assume_constant_result
def _backend(
    device_type: str, dtype: torch.dtype, wanted: str, compiling: bool
) -> str:
    return _announced_backend(
        device_type,
        dtype,
        wanted,
        compiling,
        torch.are_deterministic_algorithms_enabled(),
        _exporting(),
    )


@functools.cache
def _announced_backend(
    device_type: str,
    dtype: torch.dtype,
    wanted: str,
    compiling: bool,
    *_: bool,
) -> str:
    """Choose once for every state that the choice depends on."""
    backend, reason = select_backend(device_type, dtype, wanted, compiling)
    print_log(
        f'Deformable attention runs on {backend} ({reason}) for {dtype} on '
        f'{device_type}.',
        logger='current',
    )
    return backend


@MODELS.register_module()
class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's deformable attention with the backend chosen at run time.

    Parameters and their names are those of mmcv's module. The choice is
    logged once per device and type.

    Args:
        backend (str): ``'auto'``, ``'mmcv'``, ``'triton'``,
            ``'grid_sample'`` or ``'pytorch'``; see :func:`select_backend`.
        **options: Of mmcv's module, with ``batch_first=True``.

    Raises:
        ValueError: If there is no such backend.
    """

    def __init__(self, *, backend: str = 'auto', **options) -> None:
        super().__init__(**options)
        if backend not in BACKENDS:
            raise ValueError(
                f'backend must be one of {BACKENDS}, got {backend!r}.'
            )
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

        The first six arguments are those that mmdet's encoder layer gives
        any attention. ``key`` and ``key_pos`` have no part in deformable
        attention, and no position is padding in this model.

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
        locations = torch.addcdiv(
            references.flatten(2)[:, :, None],
            offsets,
            widths.flatten().to(offsets.dtype),
        )
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
        backend = _backend(
            values.device.type,
            values.dtype,
            self.backend,
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
