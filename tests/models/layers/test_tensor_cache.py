"""Cached tensors serve every later call, whatever computed them first."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from projects.oneformer.models.layers.tensor_cache import cache_tensors


@pytest.fixture
def steps():
    """A cached function that notes its calls."""
    calls = []

    @cache_tensors(maxsize=2)
    def steps(count: int) -> torch.Tensor:
        calls.append(count)
        return torch.arange(float(count))

    steps.calls = calls
    return steps


def test_the_last_used_results_are_kept(steps):
    first = steps(1)
    assert steps(1) is first
    steps(2)
    assert steps(1) is first  # used just now, so that 2 is the oldest
    steps(3)
    assert steps(1) is first
    steps(2)
    assert steps.calls == [1, 2, 3, 2]


def test_a_result_of_inference_mode_takes_part_in_training(steps):
    with torch.inference_mode():
        steps(3)
    weight = torch.ones(3, requires_grad=True)
    (steps(3) * weight).sum().backward()
    assert weight.grad.tolist() == [0, 1, 2]
    assert steps.calls == [3]


def test_fake_tensors_are_neither_kept_nor_replaced(steps):
    with FakeTensorMode():
        fake = steps(3)
    assert type(fake) is not torch.Tensor
    real = steps(3)
    assert type(real) is torch.Tensor
    assert real.tolist() == [0, 1, 2]
    with FakeTensorMode():
        assert type(steps(3)) is not torch.Tensor


@pytest.mark.parametrize('strict', [False, True])
def test_an_export_leaves_nothing_behind(steps, strict):
    class Module(torch.nn.Module):
        def forward(self, x):
            return x + steps(3)

    module, x = Module(), torch.ones(3)
    exported = torch.export.export(module, (x,), strict=strict)
    assert exported.module()(x).tolist() == [1, 2, 3]
    assert module(x).tolist() == [1, 2, 3]
