"""Point sampling agrees with mmcv's on float maps."""

import itertools

import pytest
import torch
from mmcv.ops import point_sample
from torch import Tensor

from projects.oneformer.models.losses.point_sampling import (
    MASKS_AT_ONCE,
    draw_uncertain,
    sample_features,
    sample_masks,
    smallest,
)

SIZE = (7, 12)  # height, width


def points_of_all_kinds(seed: int = 0) -> Tensor:
    """Random points, pixel centres and borders, the border of the map too."""
    height, width = SIZE
    xs = [0, 1e-7, 0.3 / width, 0.5 / width, 1 / width, 0.5, 1 - 1e-7, 1]
    ys = [0, 1e-7, 0.3 / height, 0.5 / height, 2 / height, 0.5, 1 - 1e-7, 1]
    fixed = torch.tensor(list(itertools.product(xs, ys)))
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([fixed, torch.rand(200, 2, generator=generator)])


@pytest.fixture
def masks() -> Tensor:
    return torch.rand(4, *SIZE) < 0.5


def test_masks_are_sampled_at_shared_points(masks):
    points = points_of_all_kinds()
    expected = point_sample(
        masks[:, None].float(), points.expand(len(masks), -1, -1)
    )[:, 0]
    found = sample_masks(masks, points)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.dtype == torch.float32


def test_masks_are_sampled_at_points_of_their_own(masks):
    points = torch.stack([points_of_all_kinds(i) for i in range(len(masks))])
    expected = point_sample(masks[:, None].float(), points)[:, 0]
    torch.testing.assert_close(
        sample_masks(masks, points), expected, atol=1e-5, rtol=0
    )


def test_many_masks_are_sampled_as_few_are():
    masks = torch.rand(2 * MASKS_AT_ONCE + 1, *SIZE) < 0.5
    points = torch.rand(len(masks), 9, 2)
    expected = [
        sample_masks(*pair)
        for pair in zip(masks[:, None], points, strict=True)
    ]
    torch.testing.assert_close(
        sample_masks(masks, points), torch.cat(expected), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize('count', [0, 1, 5, 12])
def test_the_smallest_values_are_found(count):
    values = torch.randn(3, 12)
    found = smallest(values, count)
    assert found.dtype == torch.int64
    for row, places in zip(values, found.tolist(), strict=True):
        assert set(places) == set(row.argsort()[:count].tolist())
        assert len(places) == count


def test_uncertain_points_are_candidates_and_the_rest_is_uniform():
    logits = torch.full((40, 4, 8), 5.0)
    logits[:, :, 6:] = 0.01  # unsure on the right
    points = draw_uncertain(logits, 40, 3.0, 0.75)
    assert points.shape == (40, 40, 2)
    assert points.min() >= 0 and points.max() <= 1
    # Of 120 candidates about a quarter lie there, all of which are taken.
    assert (points[:, :30, 0] > 0.8).float().mean() > 0.7
    assert abs((points[:, 30:, 0] > 0.5).float().mean() - 0.5) < 0.1


def test_no_mask_draws_no_points():
    assert draw_uncertain(torch.zeros(0, 4, 8), 12, 3.0, 0.75).shape == (
        0, 12, 2,
    )  # fmt: skip


def test_values_are_fractional_between_pixels_and_at_the_border():
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    mask[0, 0, 1] = False
    points = torch.tensor([[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 0.0]])
    assert sample_masks(mask, points).tolist() == [[1, 0.5, 0.75, 0.25]]


def test_no_mask_gives_no_values():
    masks = torch.zeros(0, *SIZE, dtype=torch.bool)
    assert sample_masks(masks, torch.rand(5, 2)).shape == (0, 5)
    assert sample_masks(masks, torch.rand(0, 5, 2)).shape == (0, 5)


def test_features_are_sampled_in_every_channel():
    features, points = torch.randn(3, *SIZE), points_of_all_kinds()
    found = sample_features(features, points)
    assert found.shape == (3, len(points))
    for channel, values in zip(features, found, strict=True):
        expected = point_sample(channel[None, None], points[None])[0, 0]
        torch.testing.assert_close(values, expected)
