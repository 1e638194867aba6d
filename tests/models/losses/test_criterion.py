"""The criterion: classification, mask and dice losses of matched queries."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch.nn import functional as F

from projects.oneformer.models.losses.matcher import Match
from projects.oneformer.models.losses.point_sampling import sample_masks
from projects.oneformer.models.losses.target import Target
from projects.oneformer.models.query_head import mask_logits
from tests import model_configs
from tests.kept_bytes import bytes_kept

CLASSES, QUERIES, WIDTH = 4, 6, 8
FEATURE_SIZE, MASK_SIZE = (8, 10), (32, 40)


@pytest.fixture
def criterion():
    return MODELS.build(dict(model_configs.criterion(), num_classes=CLASSES))


def make_target(*labels: int) -> Target:
    return Target(
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.rand(len(labels), *MASK_SIZE) < 0.5,
    )


def make_predictions(batch: int, layers: int) -> tuple:
    def leaf(*shape):
        return torch.randn(*shape, requires_grad=True)

    return (
        [leaf(batch, QUERIES, CLASSES + 1) for _ in range(layers)],
        [leaf(batch, QUERIES, WIDTH) for _ in range(layers)],
        leaf(batch, WIDTH, *FEATURE_SIZE),
    )


def match(queries: list[int], targets: list[int]) -> Match:
    return Match(torch.tensor(queries), torch.tensor(targets))


def test_there_are_three_losses_for_every_prediction(criterion):
    losses = criterion(
        *make_predictions(2, 3), [make_target(0), make_target()]
    )
    kinds = ('loss_cls', 'loss_mask', 'loss_dice')
    assert list(losses) == [
        f'{prefix}{kind}' for prefix in ('d0.', 'd1.', '') for kind in kinds
    ]


def test_predictions_may_have_mask_features_of_their_own(criterion):
    scores, embeds, features = make_predictions(2, 3)
    targets = [make_target(0, 2), make_target(1)]

    def losses_with(mask_features) -> dict[str, float]:
        torch.manual_seed(0)
        losses = criterion(scores, embeds, mask_features, targets)
        return {name: loss.item() for name, loss in losses.items()}

    shared = losses_with(features)
    assert losses_with([features, features.clone(), features]) == shared
    changed = losses_with([features, -features, features])
    for name, loss in changed.items():
        # The classes change with the matches, the masks in any case.
        if name in ('d1.loss_mask', 'd1.loss_dice'):
            assert loss != pytest.approx(shared[name], rel=1e-3)
        elif not name.startswith('d1.'):
            assert loss == shared[name]


def test_unmatched_queries_count_a_tenth_in_the_weighted_mean(criterion):
    scores = torch.randn(2, QUERIES, CLASSES + 1)
    targets = [make_target(3, 1), make_target(2)]
    matches = [match([0, 4], [1, 0]), match([5], [0])]
    labels = [[1, 4, 4, 4, 3, 4], [4, 4, 4, 4, 4, 2]]
    total = weights = 0.0
    for image, image_labels in zip(
        scores.log_softmax(-1), labels, strict=True
    ):
        for log_probs, label in zip(image, image_labels, strict=True):
            weight = 0.1 if label == CLASSES else 1.0
            total -= weight * float(log_probs[label])
            weights += weight
    loss = criterion.classification_loss(
        scores, targets, matches, [None, None]
    )
    assert float(loss) == pytest.approx(2.0 * total / weights, rel=1e-5)


def test_mask_and_dice_loss_follow_their_formulas(criterion, monkeypatch):
    _, (embeds,), features = make_predictions(2, 1)
    targets = [make_target(3, 1), make_target(2)]
    matches = [match([0, 4], [1, 0]), match([5], [0])]
    points = torch.rand(3, 30, 2)
    monkeypatch.setattr(criterion, 'draw_points', lambda _: points)
    monkeypatch.setattr(criterion, 'num_points', 30)

    masks = mask_logits(embeds, features).detach()
    logits = torch.stack([masks[0, 0], masks[0, 4], masks[1, 5]])
    truth = torch.stack(
        [targets[0].masks[1], targets[0].masks[0], targets[1].masks[0]]
    )
    logits = F.grid_sample(
        logits[:, None], 2 * points[:, :, None] - 1, align_corners=False
    )[:, 0, :, 0]
    truth = sample_masks(truth, points)
    bce = dice = 0.0
    for x, t in zip(logits, truth, strict=True):
        p = x.sigmoid()
        bce -= float((t * p.log() + (1 - t) * (1 - p).log()).mean())
        dice += 1 - float((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    num_masks = 2.0  # as if there were another process with one mask
    loss_mask, loss_dice = criterion.mask_losses(
        embeds, features, targets, matches, torch.tensor(num_masks)
    )
    assert loss_mask.item() == pytest.approx(5 * bce / num_masks, rel=1e-4)
    assert loss_dice.item() == pytest.approx(5 * dice / num_masks, rel=1e-4)


def test_matched_queries_alone_learn_from_the_masks(criterion):
    _, (embeds,), features = make_predictions(1, 1)
    losses = criterion.mask_losses(
        embeds,
        features,
        [make_target(0, 1)],
        [match([1, 3], [0, 1])],
        torch.tensor(2.0),
    )
    sum(losses).backward()
    learned = embeds.grad[0].abs().amax(-1) > 0
    assert learned.tolist() == [False, True, False, True, False, False]
    assert features.grad.any()


def test_three_quarters_of_the_points_are_where_the_mask_is_unsure(criterion):
    logits = torch.full((2, *FEATURE_SIZE), 9.0)
    logits[:, :, :5] = 0.0  # unsure in the left half
    points = criterion.draw_points(logits)
    assert points.shape == (2, model_configs.NUM_POINTS, 2)
    unsure = (points[:, :, 0] < 0.45).sum(1)
    important = round(0.75 * model_configs.NUM_POINTS)
    # Of the uniform rest about half falls into the left half as well.
    assert (unsure > important).all()
    assert (points[:, important:, 0] > 0.55).any()


def test_no_mask_map_is_kept_for_the_gradient(criterion):
    _, (embeds,), features = make_predictions(1, 1)
    target = make_target(0, 1, 2)
    pairs = [match([0, 1, 2], [0, 1, 2])]
    one = torch.tensor(1.0)

    def run():
        return criterion.mask_losses(embeds, features, [target], pairs, one)

    a_map = 4 * FEATURE_SIZE[0] * FEATURE_SIZE[1]
    assert bytes_kept(run) < 3 * a_map
    with torch.no_grad():
        assert bytes_kept(run) == 0


def test_the_number_of_masks_is_at_least_one(criterion):
    device = torch.device('cpu')
    assert criterion.mean_num_masks([make_target()], device) == 1
    targets = [make_target(0, 1), make_target(), make_target(2)]
    assert criterion.mean_num_masks(targets, device) == 3


def test_a_batch_without_objects_has_no_mask_loss_yet_all_gradients(criterion):
    scores, embeds, features = make_predictions(2, 2)
    losses = criterion(scores, embeds, features, [make_target()] * 2)
    for name, loss in losses.items():
        assert (loss > 0) == name.endswith('loss_cls'), name
        assert name.endswith('loss_cls') or loss == 0
    sum(losses.values()).backward()
    for tensor in (*scores, *embeds, features):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_without_objects_every_query_should_be_no_object(criterion):
    scores = torch.zeros(1, QUERIES, CLASSES + 1)
    losses = criterion(
        [scores],
        [torch.randn(1, QUERIES, WIDTH)],
        torch.randn(1, WIDTH, *FEATURE_SIZE),
        [make_target()],
    )
    expected = 2.0 * math.log(CLASSES + 1)
    assert float(losses['loss_cls']) == pytest.approx(expected, rel=1e-5)


def test_an_image_without_objects_leaves_the_masks_of_the_others_alone(
    criterion, monkeypatch
):
    monkeypatch.setattr(
        criterion,
        'draw_points',
        lambda logits: torch.full((len(logits), 112, 2), 0.3),
    )
    monkeypatch.setattr(
        criterion.matcher, 'draw_points', lambda _: torch.full((9, 2), 0.3)
    )
    (scores,), (embeds,), features = make_predictions(2, 1)
    target = make_target(1, 2)
    alone = criterion([scores[:1]], [embeds[:1]], features[:1], [target])
    both = criterion([scores], [embeds], features, [target, make_target()])
    for name in ('loss_mask', 'loss_dice'):
        torch.testing.assert_close(both[name], alone[name])
    assert not both['loss_cls'].isclose(alone['loss_cls'])


def test_losses_are_float32_under_autocast(criterion, monkeypatch):
    seen, draw_points = [], criterion.draw_points

    def record(logits):
        seen.append(logits.dtype)
        return draw_points(logits)

    monkeypatch.setattr(criterion, 'draw_points', record)
    with torch.autocast('cpu', torch.bfloat16):
        losses = criterion(*make_predictions(1, 1), [make_target(0, 2)])
    assert seen == [torch.float32]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
