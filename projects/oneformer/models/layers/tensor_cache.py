"""A cache for tensors that depend on sizes only."""

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar('T')


def cache_tensors(
    maxsize: int,
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Cache the results of a function that computes constant tensors.

    As :func:`functools.lru_cache`, for the two ways in which it would break
    later calls: a result that was computed in inference mode cannot take part
    in training, and one that was computed while a graph is traced or exported
    belongs to that graph.

    Args:
        maxsize (int): Results to keep, the last used ones.
    """

    def decorate(compute: Callable[..., T]) -> Callable[..., T]:
        @functools.lru_cache(maxsize)
        def cached(*args) -> T:
            with torch.inference_mode(False), torch.no_grad():
                return compute(*args)

        @functools.wraps(compute)
        def call(*args) -> T:
            if torch.compiler.is_compiling() or _tensors_are_fake():
                return compute(*args)
            return cached(*args)

        # As functools.lru_cache has it; types of functions have no attributes.
        call.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
        return call

    return decorate


def _tensors_are_fake() -> bool:
    """Whether new tensors are stand-ins, as while exporting."""
    return type(torch.empty(0)) is not Tensor
