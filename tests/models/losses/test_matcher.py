"""Matching agrees with mmdet's assigner and with trying every assignment."""

import itertools

import pytest
import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from projects.oneformer.models import QueryMatcher
from projects.oneformer.models.losses.matcher import make_tables
from projects.oneformer.models.losses.point_sampling import (
    sample_features,
    sample_masks,
)
from projects.oneformer.models.losses.target import Target
from projects.oneformer.models.query_head import mask_logits
from tests.rounding import assert_same_matching

CLASSES, WIDTH, POINTS = 6, 8, 50
FEATURE_SIZE, MASK_SIZE = (6, 8), (24, 32)


def make_target(count: int) -> Target:
    return Target(
        labels=torch.randint(CLASSES, (count,)),
        masks=torch.rand(count, *MASK_SIZE) < 0.4,
    )


def make_prediction(batch: int, queries: int) -> tuple[Tensor, Tensor]:
    return (
        2 * torch.randn(batch, queries, CLASSES + 1),
        torch.randn(batch, queries, WIDTH),
    )


class FixedPoints(QueryMatcher):
    """A matcher whose points are known."""

    def __init__(self) -> None:
        super().__init__(num_points=POINTS)
        self.points = torch.rand(POINTS, 2)

    def draw_points(self, device: torch.device) -> Tensor:
        return self.points


def mmdet_assigner() -> HungarianAssigner:
    return HungarianAssigner(
        [
            dict(type='ClassificationCost', weight=2.0),
            dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
            dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
        ]
    )


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('count', [1, 4, 10, 13])
def test_costs_and_matches_are_those_of_mmdet_at_the_same_points(seed, count):
    torch.manual_seed(seed)
    matcher, assigner = FixedPoints(), mmdet_assigner()
    scores, embeds = make_prediction(1, 10)
    features, target = torch.randn(1, WIDTH, *FEATURE_SIZE), make_target(count)

    predicted = InstanceData(
        scores=scores[0],
        masks=sample_features(
            mask_logits(embeds, features)[0], matcher.points
        ),
    )
    truth = InstanceData(
        labels=target.labels, masks=sample_masks(target.masks, matcher.points)
    )
    cost = matcher.cost(
        scores[0], embeds[0], make_tables(features[0], target), target
    )
    expected_cost = sum(c(predicted, truth) for c in assigner.match_costs)
    torch.testing.assert_close(cost, expected_cost, atol=1e-4, rtol=1e-5)

    ((match,),) = matcher([scores], [embeds], features, [target])
    assigned = assigner.assign(predicted, truth).gt_inds - 1  # (Q,)
    theirs = assigned.ge(0).nonzero()[:, 0]
    assert_same_matching(match, (theirs, assigned[theirs]), expected_cost)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('queries, count', [(5, 3), (3, 5), (4, 4)])
def test_no_other_assignment_costs_less(seed, queries, count):
    torch.manual_seed(seed)
    matcher = FixedPoints()
    scores, embeds = make_prediction(1, queries)
    features, target = torch.randn(1, WIDTH, *FEATURE_SIZE), make_target(count)
    cost = matcher.cost(
        scores[0], embeds[0], make_tables(features[0], target), target
    )
    ((match,),) = matcher([scores], [embeds], features, [target])
    assert len(match.queries) == len(match.targets) == min(queries, count)

    if queries >= count:
        every = itertools.permutations(range(queries), count)
        least = min(sum(cost[q, t] for t, q in enumerate(p)) for p in every)
    else:
        every = itertools.permutations(range(count), queries)
        least = min(sum(cost[q, t] for q, t in enumerate(p)) for p in every)
    found = cost[match.queries, match.targets].sum()
    torch.testing.assert_close(found, least)


def test_every_layer_and_image_is_matched_by_its_own_costs():
    matcher = FixedPoints()
    layers = [make_prediction(3, 10) for _ in range(2)]
    features = torch.randn(3, WIDTH, *FEATURE_SIZE)
    targets = [make_target(4), make_target(0), make_target(2)]
    matches = matcher(
        [scores for scores, _ in layers],
        [embeds for _, embeds in layers],
        features,
        targets,
    )
    assert [len(layer) for layer in matches] == [3, 3]
    for layer, (scores, embeds) in zip(matches, layers, strict=True):
        for i, match in enumerate(layer):
            cost = matcher.cost(
                scores[i],
                embeds[i],
                make_tables(features[i], targets[i]),
                targets[i],
            )
            best = map(torch.from_numpy, linear_sum_assignment(cost))
            assert_same_matching(match, tuple(best), cost)


def test_images_without_objects_match_nothing_and_draw_no_points(monkeypatch):
    matcher = QueryMatcher(num_points=POINTS)
    monkeypatch.setattr(matcher, 'draw_points', None)  # not callable
    scores, embeds = make_prediction(2, 10)
    ((first, second),) = matcher(
        [scores],
        [embeds],
        torch.randn(2, WIDTH, *FEATURE_SIZE),
        [make_target(0), make_target(0)],
    )
    for index in (*first, *second):
        assert index.tolist() == []
        assert index.dtype == torch.long


def test_other_points_are_drawn_for_every_layer_and_image(monkeypatch):
    matcher, drawn = QueryMatcher(num_points=POINTS), []
    draw_points = matcher.draw_points

    def record(device):
        drawn.append(draw_points(device))
        return drawn[-1]

    monkeypatch.setattr(matcher, 'draw_points', record)
    scores, embeds = make_prediction(2, 10)
    matcher(
        [scores, scores],
        [embeds, embeds],
        torch.randn(2, WIDTH, *FEATURE_SIZE),
        [make_target(1), make_target(2)],
    )
    assert len(drawn) == 4
    for points in drawn:
        assert points.shape == (POINTS, 2)
        assert points.min() >= 0 and points.max() < 1
    assert len({float(points[0, 0]) for points in drawn}) == 4


def test_costs_are_float32_whatever_the_precision():
    matcher = FixedPoints()
    scores, embeds = make_prediction(1, 10)
    features, target = torch.randn(1, WIDTH, *FEATURE_SIZE), make_target(4)
    half = [t.bfloat16() for t in (scores, embeds, features)]
    costs = []

    def record(*args):
        costs.append(FixedPoints.cost(matcher, *args))
        return costs[-1]

    matcher.cost = record
    with torch.autocast('cpu', torch.bfloat16):
        matcher([half[0]], [half[1]], half[2], [target])
    matcher([half[0].float()], [half[1].float()], half[2].float(), [target])
    assert costs[0].dtype == torch.float32
    assert costs[0].equal(costs[1])


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    'name', ['mask_features', 'cls_scores', 'mask_embeds']
)
def test_a_cost_that_is_not_finite_names_the_first_bad_tensor(name, value):
    layers = [make_prediction(2, 10) for _ in range(3)]
    tensors = dict(
        cls_scores=[scores for scores, _ in layers],
        mask_embeds=[embeds for _, embeds in layers],
        mask_features=torch.randn(2, WIDTH, *FEATURE_SIZE),
    )
    bad = tensors[name]
    if name == 'mask_features':
        bad[1], count = value, bad[1].numel()
    else:
        # What comes later is bad, too, but is not the cause.
        bad[1][1, 0] = bad[2][1] = value
        name, count = f'{name} of prediction 1', bad[1].shape[-1]
    with pytest.raises(FloatingPointError, match=f'{name} has {count} non-'):
        QueryMatcher(num_points=POINTS)(
            **tensors, targets=[make_target(2), make_target(3)]
        )


def test_masks_that_overflow_float32_are_told_apart():
    scores, embeds = make_prediction(1, 10)
    features = torch.full((1, WIDTH, *FEATURE_SIZE), 1e38)
    with pytest.raises(FloatingPointError, match='overflow float32'):
        QueryMatcher(num_points=POINTS)(
            [scores], [100 * embeds.abs()], features, [make_target(2)]
        )
