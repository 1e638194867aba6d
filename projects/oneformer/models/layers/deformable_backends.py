"""Which backend samples the points of deformable attention."""

import functools
import importlib.util
import logging

import torch
from mmengine.logging import print_log
from torch import Tensor

from ...mmcv_ops import has_compiled_ops
from .backends import Backends, Conditions
from .deformable_sampling import Levels, sample_grid

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
    conditions = Conditions.now(device_type, dtype, compiling)
    return BACKENDS.select(wanted, conditions)


def _problem(backend: str, conditions: Conditions) -> str | None:
    """Why a backend cannot run, or None if it can."""
    on_cuda = conditions.device_type == 'cuda'
    if backend == 'mmcv':
        return _problem_of_mmcv(conditions)
    if backend == 'triton':
        return _problem_of_triton(conditions)
    if backend == 'grid_sample' and on_cuda and conditions.deterministic:
        return f'grid_sample {UNORDERED}'
    if backend == 'pytorch' and conditions.exporting:
        return 'this use of embedding_bag is not exported'
    return None


def _problem_of_mmcv(conditions: Conditions) -> str | None:
    if conditions.device_type != 'cuda':
        return f'the compiled op of mmcv has no {conditions.device_type} code'
    if not has_compiled_ops():
        return 'mmcv is installed without compiled ops'
    if conditions.dtype not in (torch.float32, torch.float64):
        return f'the compiled op of mmcv is not used in {conditions.dtype}'
    if conditions.compiling:
        return 'torch.compile cannot trace the compiled op of mmcv'
    if conditions.deterministic:
        return f'the compiled op of mmcv {UNORDERED}'
    return None


def _problem_of_triton(conditions: Conditions) -> str | None:
    if conditions.device_type != 'cuda':
        return f'the Triton kernels are not used on {conditions.device_type}'
    if conditions.dtype not in TOLERANCES:
        return f'the Triton kernels do not compute {conditions.dtype}'
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed'
    if conditions.exporting:
        return 'Triton kernels are not exported'
    if conditions.deterministic:
        return f'the Triton kernel {UNORDERED}'
    return check_triton(conditions.dtype)


UNORDERED = 'adds gradients in no fixed order'
BACKENDS = Backends(
    'Deformable attention',
    'attention_backend of the pixel decoder',
    descriptions=dict(
        mmcv='compiled op of mmcv',
        triton='Triton kernels, checked on this device',
        grid_sample='PyTorch, one grid_sample a level',
        pytorch='PyTorch, one embedding_bag for all levels',
    ),
    preferences=dict(
        cpu=('pytorch', 'grid_sample'),
        cuda=('mmcv', 'triton', 'grid_sample', 'pytorch'),
        other=('grid_sample',),
    ),
    problem=_problem,
)


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
