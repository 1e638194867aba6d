"""The machine that a training is planned for."""

import os
from typing import NamedTuple

GIB = 2**30


class Machine(NamedTuple):
    """What a training may use.

    Attributes:
        device (str): 'cpu' or 'cuda'.
        memory (float): Of the GPU, or of the machine, in GiB.
        cores (int): Processor cores that this process may use.
        name (str): What to call it.
    """

    device: str
    memory: float
    cores: int
    name: str


def find_machine(device: str | None = None) -> Machine:
    """Return this machine.

    Args:
        device (str, optional): 'cpu' or 'cuda'; by default a GPU if PyTorch
            finds one.
    """
    cores = len(os.sched_getaffinity(0))
    if device != 'cpu':
        import torch

        if torch.cuda.is_available():
            card = torch.cuda.get_device_properties(torch.device('cuda'))
            return Machine('cuda', card.total_memory / GIB, cores, card.name)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB
    return Machine('cpu', memory, cores, f'a CPU with {cores} cores')
