"""Activation checkpointing: less memory for more time."""

from collections.abc import Callable

from torch import Tensor, is_grad_enabled
from torch.utils.checkpoint import checkpoint


def call(
    module: Callable, with_cp: bool, **inputs
) -> Tensor | list[Tensor] | tuple[Tensor, ...]:
    """Call a module or function.

    Args:
        module (Callable): Whatever it draws, as for dropout, is drawn again
            for the gradient, and so the same.
        with_cp (bool): Whether to keep only its inputs for the gradient, and
            to compute again what happens inside.
        **inputs: Arguments of the module.
    """
    if with_cp and is_grad_enabled():
        return checkpoint(module, use_reentrant=False, **inputs)
    return module(**inputs)
