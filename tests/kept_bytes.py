"""How much a forward pass keeps for the backward pass."""

import warnings
from collections.abc import Callable

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile


def bytes_kept(run: Callable, model: nn.Module | None = None) -> int:
    """Run something and return the bytes it keeps, each storage once.

    Args:
        run (Callable): The forward pass.
        model (nn.Module, optional): Its parameters do not count.
    """
    parameters = [] if model is None else model.parameters()
    given = {p.untyped_storage().data_ptr() for p in parameters}
    sizes, alive = {}, []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            sizes[storage.data_ptr()] = storage.nbytes()
        # Else the next tensor could lie where this one lay.
        alive.append(storage)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(sizes.values())


def bytes_held(run: Callable) -> int:
    """Run something and return the bytes that are allocated and not freed.

    Its result counts, and so do the arguments of what is recomputed, which
    :func:`bytes_kept` does not see.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            result = run()
    held = sum(
        event.nbytes()
        for event in profiler.profiler.kineto_results.events()
        if event.name() == '[memory]'
    )
    del result
    return held
