"""The Triton kernels: interpreted on a CPU, compiled for GPUs, and on one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from projects.oneformer.models.layers.deformable_backends import check_triton
from projects.oneformer.models.layers.deformable_sampling import Levels
from tests.deformable_oracle import CASES, assert_near, by_formula, draw

pytest.importorskip('triton', reason='needs Triton, which is for Linux')

TESTS = Path(__file__).parents[2]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ALL_CASES = [
    *((name, torch.float32) for name in CASES),
    ('odd_channels_and_points', torch.float16),
    ('odd_channels_and_points', torch.bfloat16),
]


def run_script(script: str, *arguments: str, **environment: str) -> str:
    """Run a script of the tests and return what it prints."""
    kept = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    result = subprocess.run(
        [sys.executable, str(TESTS / script), *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def interpreted(tmp_path_factory) -> dict:
    """Results and gradients of all cases."""
    folder = tmp_path_factory.mktemp('triton')
    torch.save(
        [(CASES[name].sizes, *draw(CASES[name], t)) for name, t in ALL_CASES],
        folder / 'cases.pt',
    )
    run_script(
        'interpret_triton.py',
        str(folder / 'cases.pt'),
        str(folder / 'results.pt'),
        TRITON_INTERPRET='1',
    )
    found = torch.load(folder / 'results.pt')
    return dict(zip(ALL_CASES, found, strict=True))


@pytest.mark.parametrize('name, dtype', ALL_CASES, ids=str)
def test_interpreted_kernels_compute_the_formula_and_its_gradients(
    interpreted, name, dtype
):
    expected = by_formula(CASES[name], dtype)
    assert_near(interpreted[name, dtype], expected, dtype)


@pytest.mark.parametrize(
    'target, code',
    [
        (('cuda', '80', '32'), 'cubin'),
        pytest.param(('cuda', '75', '32'), 'cubin', marks=pytest.mark.slow),
        pytest.param(('cuda', '90', '32'), 'cubin', marks=pytest.mark.slow),
        pytest.param(('hip', 'gfx942', '64'), 'hsaco', marks=pytest.mark.slow),
    ],
)
def test_the_kernels_compile_to_the_code_of_a_gpu(target, code, tmp_path):
    output = run_script(
        'compile_triton.py', *target, TRITON_CACHE_DIR=str(tmp_path)
    )
    lines = [line.split() for line in output.splitlines()]
    assert len(lines) == 4  # two kernels, two types
    assert all(code in line for line in lines)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
class TestOnAGPU:
    @pytest.mark.parametrize('dtype', DTYPES, ids=str)
    @pytest.mark.parametrize('name', CASES)
    def test_kernels_compute_the_formula_and_its_gradients(self, name, dtype):
        from projects.oneformer.models.layers.deformable_triton import (
            sample_triton,
        )

        case = CASES[name]
        *inputs, grad = (x.cuda() for x in draw(case, dtype))
        value, locations, weights = (x.requires_grad_() for x in inputs)
        levels = Levels.of(case.sizes, 'cuda')
        output = sample_triton(value, levels, locations, weights)
        grads = torch.autograd.grad(output, inputs, grad)
        found = [x.detach().cpu() for x in (output, *grads)]
        assert_near(found, by_formula(case, dtype), dtype)

    @pytest.mark.parametrize('dtype', DTYPES, ids=str)
    def test_the_check_before_the_first_use_finds_no_problem(self, dtype):
        assert check_triton(dtype) is None
