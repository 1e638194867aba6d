"""The PyTorch paths of deformable attention against its formula."""

import pytest
import torch

from projects.oneformer.models.layers.deformable_sampling import (
    Levels,
    sample_grid,
    sample_rows,
)
from tests.deformable_oracle import (
    CASES,
    Case,
    assert_near,
    by_formula,
    draw,
)

BOTH = pytest.mark.parametrize('sample', [sample_grid, sample_rows])


def compute(sample, case: Case, dtype: torch.dtype, device: str = 'cpu'):
    """Result and gradients of value, locations and weights."""
    *inputs, grad = (x.to(device) for x in draw(case, dtype))
    value, locations, weights = (x.requires_grad_() for x in inputs)
    levels = Levels.of(case.sizes, device)
    result = sample(value, levels, locations, weights)
    return [result.detach(), *torch.autograd.grad(result, inputs, grad)]


@BOTH
@pytest.mark.parametrize('name', CASES)
def test_it_computes_the_formula_and_its_gradients(sample, name):
    found = compute(sample, CASES[name], torch.float32)
    expected = by_formula(CASES[name], torch.float32)
    assert_near(found, expected, torch.float32)


@BOTH
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_summed_in_float32(sample, dtype):
    case = CASES['growing_levels']
    assert_near(compute(sample, case, dtype), by_formula(case, dtype), dtype)


def test_gradients_are_the_slopes_of_the_result():
    case = CASES['odd_channels_and_points']
    value, locations, weights, _ = draw(case)
    levels = Levels.of(case.sizes, 'cpu')
    inputs = [
        x.double().requires_grad_()
        for x in (value, locations[:, 2:], weights[:, 2:])
    ]
    assert torch.autograd.gradcheck(
        lambda value, *points: sample_rows(value, levels, *points), inputs
    )


@BOTH
def test_one_point_takes_a_share_of_each_of_the_four_tokens_around(sample):
    value = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1, 1)
    # A quarter right of the first column and half below the first row.
    location = torch.tensor([0.25 + 0.25 / 2, 0.5]).view(1, 1, 1, 1, 1, 2)
    found = sample(
        value,
        Levels.of(((2, 2),), 'cpu'),
        location,
        torch.full((1, 1, 1, 1, 1), 2.0),
    )
    expected = 2 * (0.375 * 1 + 0.125 * 10 + 0.375 * 100 + 0.125 * 1000)
    assert found.item() == pytest.approx(expected)


@BOTH
@pytest.mark.parametrize(
    'x, share',
    [
        (0.0, 0.5),  # the border lies half a token from the nearest centre
        (-0.25, 0.25),
        (-0.5, 0.0),
        (1.25, 0.25),
        (1.5, 0.0),
        (1e30, 0.0),
        (-1e30, 0.0),
    ],
)
def test_a_map_fades_to_zero_within_a_token_beyond_it(sample, x, share):
    location = torch.tensor([x, 0.5]).view(1, 1, 1, 1, 1, 2)
    found = sample(
        torch.ones(1, 1, 1, 1),
        Levels.of(((1, 1),), 'cpu'),
        location,
        torch.ones(1, 1, 1, 1, 1),
    )
    assert found.item() == pytest.approx(share)


def test_a_location_that_is_no_number_spoils_its_own_query_only():
    case = CASES['growing_levels']
    value, locations, weights, grad = draw(case)
    expected, expected_slopes, *_ = by_formula(case, torch.float32)
    locations[0, 3, 1, 2, 1] = float('nan')
    value.requires_grad_()
    levels = Levels.of(case.sizes, 'cpu')
    found = sample_rows(value, levels, locations, weights)
    spoilt = torch.zeros(found.shape, dtype=torch.bool)
    spoilt[0, 3, case.channels :] = True  # of the second head
    assert found.isnan().equal(spoilt)
    torch.testing.assert_close(
        found[~spoilt].double(), expected[~spoilt], atol=1e-5, rtol=1e-5
    )
    (slopes,) = torch.autograd.grad(found, value, grad)
    torch.testing.assert_close(
        slopes[1].double(), expected_slopes[1], atol=1e-5, rtol=1e-5
    )


def test_levels_tell_where_each_begins():
    levels = Levels.of(((2, 3), (1, 4), (5, 5)), 'cpu')
    assert levels.shapes.tolist() == [[2, 3], [1, 4], [5, 5]]
    assert levels.starts.tolist() == [0, 6, 10]
    assert levels.lengths == [6, 4, 25]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
class TestOnAGPU:
    @BOTH
    @pytest.mark.parametrize('name', CASES)
    def test_it_computes_the_formula_and_its_gradients(self, sample, name):
        found = compute(sample, CASES[name], torch.float32, 'cuda')
        assert_near(
            [x.cpu() for x in found],
            by_formula(CASES[name], torch.float32),
            torch.float32,
        )

    def test_rows_give_the_same_gradients_every_time(self):
        case = Case(((9, 9), (17, 17)), batch=2, queries=370, heads=8)
        torch.use_deterministic_algorithms(True)
        try:
            first = compute(sample_rows, case, torch.float32, 'cuda')
            second = compute(sample_rows, case, torch.float32, 'cuda')
        finally:
            torch.use_deterministic_algorithms(False)
        for one, other in zip(first, second, strict=True):
            assert one.equal(other)
