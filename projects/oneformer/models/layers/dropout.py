"""Dropout that is fast on a CPU and saves little there.

PyTorch draws one random number per element on one thread and saves a float for
each; this takes a third of the time. On other devices PyTorch's is used.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_BITS = 16


class Dropout(nn.Dropout):
    """PyTorch's dropout, which on a CPU saves one byte per element."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements at random while training."""
        if not self.training or self.p in (0, 1) or not can_be_lean(x):
            return super().forward(x)
        return _Dropout.apply(x, self.p)


def can_be_lean(x: Tensor) -> bool:
    """Whether a tensor is on a CPU and no graph is traced."""
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == 'cpu' and not tracing


def draw_kept(shape: tuple[int, ...], dropout: float) -> tuple[Tensor, float]:
    """Draw the elements that dropout keeps.

    Four decisions share a random number of 64 bits, so that the rate is
    rounded to a multiple of 2 ** -16. PyTorch's seed decides.

    Args:
        shape (tuple[int, ...]): Of the result.
        dropout (float): Share that is dropped, in [0, 1).

    Returns:
        tuple[Tensor, float]: 1 or 0 of uint8, of that shape, on the CPU, and
        the share kept. Conversion from bool would be slower.
    """
    size = torch.Size(shape).numel()
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()))
    generator = np.random.Generator(np.random.SFC64(seed))
    count = -(-size * _BITS // 64)
    words = generator.integers(2**64, size=count, dtype=np.uint64)
    dropped = round(dropout * 2**_BITS)
    # By NumPy, whose comparisons are quicker.
    kept = words.view(np.uint16)[:size] >= dropped
    kept = torch.from_numpy(kept).view(torch.uint8)
    return kept.view(shape), 1 - dropped / 2**_BITS


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dropout):
        kept, ctx.share = draw_kept(x.shape, dropout)
        ctx.save_for_backward(kept)
        return kept.to(x.dtype).mul_(x).div_(ctx.share)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (kept,) = ctx.saved_tensors
        return kept.to(grad.dtype).mul_(grad).div_(ctx.share), None
