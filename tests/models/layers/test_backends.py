"""The rule that chooses the backend of an operation."""

import pytest
import torch

from projects.oneformer.models.layers.backends import Backends, Conditions


def problem(backend: str, conditions: Conditions) -> str | None:
    if backend == 'fast' and conditions.dtype != torch.float32:
        return f'fast cannot compute {conditions.dtype}'
    if backend == 'slow' and conditions.exporting:
        return 'slow is not exported'
    return None


@pytest.fixture
def backends() -> Backends:
    return Backends(
        'Doubling',
        'backend of the doubler',
        descriptions=dict(fast='shifts bits', slow='adds'),
        preferences=dict(cuda=('fast', 'slow'), other=('slow',)),
        problem=problem,
    )


def test_auto_takes_the_first_that_can(backends):
    assert backends.select('auto', Conditions('cuda')) == (
        'fast',
        'shifts bits',
    )
    assert backends.select('auto', Conditions('mps')) == ('slow', 'adds')
    assert backends.select('auto', Conditions('cuda', torch.half)) == (
        'slow',
        'adds; fast cannot compute torch.float16',
    )


def test_auto_takes_the_last_one_if_none_can(backends):
    conditions = Conditions('cuda', torch.half, exporting=True)
    assert backends.select('auto', conditions)[0] == 'slow'


def test_a_backend_that_is_named_is_taken_or_refused(backends):
    assert backends.select('fast', Conditions('cpu')) == (
        'fast',
        'shifts bits, as configured',
    )
    with pytest.raises(
        ValueError,
        match='Doubling cannot run on fast: fast cannot compute torch.float16.'
        " Set backend of the doubler to 'auto'",
    ):
        backends.select('fast', Conditions('cpu', torch.half))
    with pytest.raises(ValueError, match="'quick'.*one of auto, fast, slow"):
        backends.check_name('quick')


def test_the_choice_follows_the_state_of_the_process(backends, monkeypatch):
    def choose() -> str:
        return backends.choose('auto', 'cuda', torch.half, False)

    assert choose() == 'slow'
    monkeypatch.setattr(torch.onnx, 'is_in_onnx_export', lambda: True)
    monkeypatch.setattr(backends, 'preferences', dict(other=('fast',)))
    assert choose() == 'fast'  # not the choice of before
