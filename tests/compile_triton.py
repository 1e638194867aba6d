"""Compile the Triton kernels for a GPU that need not be there.

Usage: python tests/compile_triton.py BACKEND ARCHITECTURE THREADS
"""

import sys

import triton
from interpret_triton import load_kernels
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SIZES = dict(CHANNELS=32, WIDTH=32, LEVELS=3, POINTS=4, BLOCK=32)
TYPES = dict.fromkeys(('length', 'queries', 'rows', 'heads'), 'i32')
TYPES |= dict.fromkeys(('shapes', 'starts'), '*i64')
TYPES |= dict.fromkeys(SIZES, 'constexpr')


def main(backend: str, architecture: str, threads: str) -> None:
    """Print the kinds of code that each kernel was compiled to."""
    if architecture.isdigit():
        architecture = int(architecture)
    _, kernels = load_kernels()
    for kernel in (kernels._forward_kernel, kernels._backward_kernel):
        for dtype in ('fp32', 'bf16'):
            half = dict.fromkeys(('value', 'output', 'grad'), f'*{dtype}')
            compiled = triton.compile(
                ASTSource(
                    fn=kernel,
                    signature={
                        name: {**TYPES, **half}.get(name, '*fp32')
                        for name in kernel.arg_names
                    },
                    constexprs=SIZES,
                ),
                target=GPUTarget(backend, architecture, int(threads)),
            )
            print(kernel.fn.__name__, dtype, *compiled.asm)


if __name__ == '__main__':
    main(*sys.argv[1:])
