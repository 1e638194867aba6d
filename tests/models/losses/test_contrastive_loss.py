"""The contrastive loss equals its formula; see test_distributed.py, too."""

import math

import pytest
import torch

from projects.oneformer.models import QueryTextContrastiveLoss

BATCH = 3


@pytest.fixture
def queries() -> torch.Tensor:
    return torch.randn(BATCH, 5, 4, requires_grad=True)


@pytest.fixture
def texts() -> torch.Tensor:
    return torch.randn(BATCH, 5, 4, requires_grad=True)


def by_hand(queries, texts, scale: float) -> float:
    """One flattened, normalised vector an image; a sum of both directions."""

    def unit(tensor) -> list[float]:
        values = tensor.flatten().tolist()
        length = math.sqrt(sum(value * value for value in values))
        return [value / length for value in values]

    images, words = [unit(q) for q in queries], [unit(t) for t in texts]
    logits = [
        [scale * sum(a * b for a, b in zip(i, t, strict=True)) for t in words]
        for i in images
    ]
    total = 0.0
    for i in range(len(images)):
        row = logits[i]
        column = [logits[k][i] for k in range(len(images))]
        for line in (row, column):
            log_sum = math.log(sum(math.exp(value) for value in line))
            total += (log_sum - line[i]) / len(images)
    return total


def test_the_loss_is_the_weighted_sum_of_both_directions(queries, texts):
    loss = QueryTextContrastiveLoss(loss_weight=0.5, temperature=0.07)
    expected = 0.5 * by_hand(queries, texts, 1 / 0.07)
    assert float(loss(queries, texts).detach()) == pytest.approx(expected)


def test_the_scale_starts_at_the_inverse_temperature():
    loss = QueryTextContrastiveLoss()
    assert float(loss.logit_scale.detach()) == pytest.approx(2.6592600)
    assert loss.logit_scale.dtype == torch.float32


def test_the_scale_is_bounded_above_after_the_exponential(queries, texts):
    loss = QueryTextContrastiveLoss(loss_weight=1.0)
    loss.logit_scale.data.fill_(7.0)
    expected = by_hand(queries, texts, 100.0)
    assert float(loss(queries, texts).detach()) == pytest.approx(expected)
    loss.logit_scale.data.fill_(-3.0)  # and not below
    expected = by_hand(queries, texts, math.exp(-3.0))
    assert float(loss(queries, texts).detach()) == pytest.approx(expected)


def test_queries_texts_and_scale_all_learn(queries, texts):
    loss = QueryTextContrastiveLoss()
    loss(queries, texts).backward()
    for tensor in (queries, texts, loss.logit_scale):
        assert tensor.grad.abs().max() > 0


def test_a_single_image_has_a_loss_of_exactly_zero(queries, texts):
    loss = QueryTextContrastiveLoss()
    value = loss(queries[:1], texts[:1])
    assert value == 0
    value.backward()
    assert not queries.grad.any()
    assert not loss.logit_scale.grad.any()


def test_the_texts_of_the_same_image_are_preferred(queries):
    loss = QueryTextContrastiveLoss()
    assert loss(queries, queries) < loss(queries, queries.roll(1, dims=0))


def test_unequal_numbers_of_queries_and_texts_are_refused(queries, texts):
    with pytest.raises(ValueError, match=r'\(3, 4, 4\) for \(3, 5, 4\)'):
        QueryTextContrastiveLoss()(queries, texts[:, :-1])
