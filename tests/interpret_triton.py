"""Run the Triton kernels on a CPU, by Triton's interpreter.

Triton decides when it defines a kernel whether to interpret it, so this runs
in a process of its own, with ``TRITON_INTERPRET=1``. It loads the kernels
without the packages that the rest of the project needs.

Usage: python tests/interpret_triton.py CASES RESULTS
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch

ROOT = Path(__file__).parents[1]


def load_kernels() -> tuple[ModuleType, ModuleType]:
    """Return the modules of the PyTorch paths and of the kernels."""
    layers = ROOT / 'projects' / 'oneformer' / 'models' / 'layers'
    package = ModuleType('layers')
    package.__path__ = [str(layers)]
    sys.modules['layers'] = package
    return (
        importlib.import_module('layers.deformable_sampling'),
        importlib.import_module('layers.deformable_triton'),
    )


def main(cases: str, results: str) -> None:
    """Compute result and gradients of every case, and check the operators."""
    sampling, kernels = load_kernels()
    found = []
    for sizes, value, locations, weights, grad in torch.load(cases):
        levels = sampling.Levels.of(sizes, 'cpu')
        inputs = [x.requires_grad_() for x in (value, locations, weights)]
        output = kernels.sample_triton(value, levels, locations, weights)
        grads = torch.autograd.grad(output, inputs, grad)
        found.append([output.detach(), *grads])
    torch.library.opcheck(
        kernels._sample,
        (value, levels.shapes, levels.starts, locations, weights),
        test_utils=(
            'test_schema',
            'test_autograd_registration',
            'test_faketensor',
        ),
    )
    torch.save(found, results)


if __name__ == '__main__':
    main(*sys.argv[1:])
