"""Activation checkpointing: less memory for more time."""

from collections.abc import Callable
from typing import TypeVar

from torch import is_grad_enabled
from torch.utils.checkpoint import checkpoint

T = TypeVar('T')


def call(module: Callable[..., T], with_cp: bool, **inputs) -> T:
    """Call a module or function.

    Args:
        module (Callable): What to call. Random numbers, as of dropout, are
            the same when it is recomputed.
        with_cp (bool): Whether to save its inputs only, and to recompute its
            activations in the backward pass.
        **inputs: Arguments of the module.
    """
    if with_cp and is_grad_enabled():
        return checkpoint(module, use_reentrant=False, **inputs)
    return module(**inputs)
