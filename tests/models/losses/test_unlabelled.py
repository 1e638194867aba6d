"""Unlabelled classes and ignored regions are not background."""

import math
from dataclasses import replace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import PixelData
from torch import Tensor

from projects.oneformer.models import QueryMatcher
from projects.oneformer.models.losses.matcher import Match, make_tables
from projects.oneformer.models.losses.target import Target, make_target
from projects.oneformer.models.losses.unlabelled import (
    ignore_cells,
    labelled_share,
    merge_unlabelled_classes,
)
from tests import model_configs
from tests.model_configs import build_model, data_sample, images, tiny_model

CLASSES, QUERIES, WIDTH = 4, 6, 8
FEATURE_SIZE, MASK_SIZE = (8, 10), (32, 40)


@pytest.fixture
def criterion():
    return MODELS.build(dict(model_configs.criterion(), num_classes=CLASSES))


def classes_of(*labels: int) -> Tensor:
    classes = torch.zeros(CLASSES, dtype=torch.bool)
    classes[list(labels)] = True
    return classes


def left_half() -> Tensor:
    """An ignored region: the left half, five columns of features."""
    ignored = torch.zeros(MASK_SIZE, dtype=torch.bool)
    ignored[:, :20] = True
    return ignored


def target_of(*labels: int, **unlabelled) -> Target:
    """Return a target with random masks.

    Args:
        *labels (int): Of its objects.
        **unlabelled: ``unlabelled_classes`` and ``ignored``.
    """
    return Target(
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.rand(len(labels), *MASK_SIZE) < 0.5,
        **unlabelled,
    )


def make_predictions(batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(batch, QUERIES, CLASSES + 1),
        torch.randn(batch, QUERIES, WIDTH),
        torch.randn(batch, WIDTH, *FEATURE_SIZE),
    )


def match(queries: list[int], targets: list[int]) -> Match:
    return Match(
        torch.tensor(queries, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
    )


# ------------------------------------------------------------------ classes


def test_an_unmatched_query_may_be_no_object_or_of_an_unlabelled_class(
    criterion,
):
    # Probabilities 0.1, 0.2, 0.3, 0.15 and 0.25 for "no object".
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).log()[None]
    loss = criterion.classification_loss(
        scores,
        [target_of(unlabelled_classes=classes_of(1, 3))],
        [match([], [])],
        [None],
    )
    expected = -math.log(0.25 + 0.2 + 0.15)
    assert float(loss) == pytest.approx(2.0 * expected, rel=1e-5)


def test_a_matched_query_is_of_its_class_and_of_no_unlabelled_one(criterion):
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).log()[None]
    loss = criterion.classification_loss(
        scores,
        [target_of(2, unlabelled_classes=classes_of(1, 3))],
        [match([0], [0])],
        [None],
    )
    assert float(loss) == pytest.approx(-2.0 * math.log(0.3), rel=1e-6)


def test_nothing_pushes_an_unlabelled_class_of_an_unmatched_query_down():
    logits = torch.randn(QUERIES, CLASSES + 1, requires_grad=True)
    unmatched = torch.tensor([True] * 3 + [False] * 3)
    merged = merge_unlabelled_classes(logits, unmatched, classes_of(0, 2))
    labels = torch.tensor([CLASSES] * 3 + [1, 3, 1])
    torch.nn.functional.cross_entropy(merged, labels).backward()
    gradient = logits.grad
    # Descent raises what has a negative gradient.
    assert (gradient[:3][:, [0, 2, 4]] < 0).all()
    assert (gradient[:3][:, [1, 3]] > 0).all()
    # A matched query is known not to be of another class.
    assert (gradient[3:][:, [0, 2]] > 0).all()
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(QUERIES))


def test_with_all_classes_unlabelled_an_unmatched_query_learns_nothing(
    criterion,
):
    scores = make_predictions()[0].requires_grad_()
    loss = criterion.classification_loss(
        scores,
        [target_of(unlabelled_classes=classes_of(0, 1, 2, 3))],
        [match([], [])],
        [None],
    )
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert scores.grad.abs().max() < 1e-6


def test_objects_of_an_unlabelled_class_lie_in_the_ignored_region(criterion):
    """Of two equal queries one has its mask there, the other elsewhere."""
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]] * 2).log()[None]
    left = torch.zeros(1, 1, *FEATURE_SIZE)
    left[..., :5] = 40.0
    left[..., 5:] = -40.0
    target = target_of(
        unlabelled_classes=classes_of(1, 3), ignored=left_half()
    )
    shares = criterion.labelled_shares(
        torch.tensor([[[1.0], [-1.0]]]), left, [target]
    )
    scores.requires_grad_()
    loss = criterion.classification_loss(
        scores, [target], [match([], [])], shares
    )
    # The two share the divisor. Random points at the border are of both.
    expected = -2.0 * math.log(0.25) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=0.02)
    loss.backward()
    there, elsewhere = scores.grad[0]
    assert there.abs().max() < 0.02
    assert (elsewhere[:-1] > 0.09).all() and elsewhere[-1] < -0.7


def test_each_image_has_its_own_unlabelled_classes(criterion):
    scores = make_predictions(2)[0]
    targets = [target_of(), target_of(unlabelled_classes=classes_of(1))]
    matches = [match([], [])] * 2
    loss = criterion.classification_loss(
        scores, targets, matches, [None, None]
    )
    alone = [
        criterion.classification_loss(
            scores[i : i + 1], [target], matches[:1], [None]
        )
        for i, target in enumerate(targets)
    ]
    torch.testing.assert_close(loss, sum(alone) / 2)


def test_no_unlabelled_class_and_an_empty_list_are_the_same(criterion):
    scores, embeds, features = make_predictions(2)
    targets = [target_of(3, 1), target_of()]
    losses = []
    for nothing in (None, classes_of()):
        torch.manual_seed(1)
        found = criterion(
            [scores],
            [embeds],
            features,
            [replace(own, unlabelled_classes=nothing) for own in targets],
        )
        losses.append(found)
    torch.testing.assert_close(*losses)


# ----------------------------------------------------------- ignored region


def test_the_loss_of_an_unmatched_query_counts_as_its_mask_is_labelled(
    criterion, monkeypatch
):
    # Three queries: certain of the left half, of all, and of the right half.
    features = torch.zeros(WIDTH, *FEATURE_SIZE)
    features[0, :, :5], features[1, :, 5:] = 1, 1
    embeds = torch.zeros(3, WIDTH)
    embeds[:, :2] = torch.tensor([[50.0, -50], [50, 50], [-50, 50]])
    points = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.8, 0.5]])
    monkeypatch.setattr(torch, 'rand', lambda *_, **__: points)
    share = labelled_share(embeds, features, left_half(), len(points))
    torch.testing.assert_close(
        share, torch.tensor([0.0, 0.25, 1.0]), atol=1e-5, rtol=0
    )

    scores = torch.randn(1, 3, CLASSES + 1)
    losses = -scores[0].log_softmax(-1)[:, -1]
    loss = criterion.classification_loss(
        scores, [target_of()], [match([], [])], [share]
    )
    expected = (0.25 * losses[1] + losses[2]) / 3
    torch.testing.assert_close(loss, 2 * expected, atol=1e-4, rtol=1e-4)


def test_a_matched_query_counts_fully_wherever_its_mask_is(criterion):
    scores = make_predictions()[0][:, :1]
    loss = criterion.classification_loss(
        scores, [target_of(2)], [match([0], [0])], [torch.zeros(1)]
    )
    expected = -2 * scores[0, 0].log_softmax(-1)[2]
    torch.testing.assert_close(loss, expected)


def test_an_image_without_a_labelled_pixel_teaches_nothing(criterion):
    scores, embeds, features = make_predictions()
    for tensor in (scores, embeds, features):
        tensor.requires_grad_()
    everywhere = torch.ones(MASK_SIZE, dtype=torch.bool)
    losses = criterion(
        [scores], [embeds], features, [target_of(ignored=everywhere)]
    )
    sum(losses.values()).backward()
    assert all(float(loss.detach()) < 1e-6 for loss in losses.values())
    assert scores.grad.abs().max() < 1e-6


def test_a_mask_that_is_nowhere_counts_fully():
    share = labelled_share(
        torch.full((1, WIDTH), -100.0),
        torch.ones(WIDTH, *FEATURE_SIZE),
        left_half(),
        num_points=100,
    )
    assert share.tolist() == [1.0]


def losses_of_masks(criterion, embeds, features, target):
    torch.manual_seed(3)
    return criterion.mask_losses(
        embeds, features, [target], [match([0, 4], [1, 0])], torch.tensor(2.0)
    )


def disturbed(features: Tensor) -> Tensor:
    """Other predictions on the left, up to a column before the border.

    What is labelled beside the border is interpolated from that column.
    """
    changed = features.clone()
    changed[..., :4] = 30 * torch.randn_like(changed[..., :4])
    return changed


def test_predictions_in_an_ignored_region_change_no_mask_loss(criterion):
    _, embeds, features = make_predictions()
    target = target_of(3, 1)
    target.masks[:, :, :20] = False
    changed = disturbed(features)

    def losses(target):
        return [
            losses_of_masks(criterion, embeds, own, target)
            for own in (features, changed)
        ]

    before, after = losses(replace(target, ignored=left_half()))
    torch.testing.assert_close(after, before)
    # The test can fail: it does where the same pixels are background.
    before, after = losses(target)
    for loss, other in zip(before, after, strict=True):
        assert (other / loss - 1).abs() > 0.01


def test_no_gradient_comes_from_an_ignored_region(criterion):
    _, embeds, features = make_predictions()
    features.requires_grad_()
    losses = losses_of_masks(
        criterion, embeds, features, target_of(3, 1, ignored=left_half())
    )
    sum(losses).backward()
    assert not features.grad[..., :4].any()
    assert features.grad[..., 5:].any()


def test_with_no_labelled_pixel_the_masks_learn_nothing(criterion):
    _, embeds, features = make_predictions()
    embeds.requires_grad_()
    everywhere = torch.ones(MASK_SIZE, dtype=torch.bool)
    losses = losses_of_masks(
        criterion, embeds, features, target_of(3, 1, ignored=everywhere)
    )
    sum(losses).backward()
    assert [float(loss.detach()) for loss in losses] == [0, 0]
    assert not embeds.grad.any()


def test_points_do_not_gather_in_an_ignored_region(criterion):
    # Uncertain on the left, which is ignored, and certain on the right.
    logits = torch.full((1, *FEATURE_SIZE), 20.0)
    logits[..., :5] = 0
    criterion.num_points = 200
    shares = []
    for ignored in (None, left_half()):
        seen = ignore_cells(logits, [1], [target_of(2, ignored=ignored)])
        points = criterion.draw_points(seen)
        shares.append(float((points[..., 0] < 0.5).float().mean()))
    # Three quarters are chosen, and the others are uniform.
    assert shares[0] > 0.8
    assert shares[1] < 0.25


def test_costs_do_not_depend_on_an_ignored_region():
    matcher = QueryMatcher(num_points=200)
    scores, embeds, features = make_predictions()
    target = target_of(3, 1, ignored=left_half())
    costs = []
    for own, left in ((features, 0), (disturbed(features), 1)):
        masks = target.masks.clone()
        masks[:, :, :20] = bool(left)
        other = replace(target, masks=masks)
        torch.manual_seed(3)
        costs.append(
            matcher.cost(
                scores[0], embeds[0], make_tables(own[0], other), other
            )
        )
    torch.testing.assert_close(*costs)
    torch.manual_seed(3)
    without = matcher.cost(
        scores[0],
        embeds[0],
        make_tables(features[0], target),
        replace(target, ignored=None),
    )
    assert (without - costs[0]).abs().min() > 0.01


def test_an_ignored_region_has_no_part_in_matching():
    # Query 0 fits on the right and covers the left, too; query 1 fits a
    # little less on the right and is right to spare the left, if that were
    # background.
    features = torch.zeros(1, 3, *FEATURE_SIZE)
    features[0, 0, :, :5], features[0, 1, :, 5:] = 1, 1
    features[0, 2, :4, 5:] = 1
    embeds = torch.tensor([[[20.0, 20, 0], [-20, 20, -22]]])
    masks = torch.zeros(1, *MASK_SIZE, dtype=torch.bool)
    masks[:, :, 20:] = True
    scores = torch.zeros(1, 2, CLASSES + 1)
    matcher = QueryMatcher(num_points=500)
    found = []
    for ignored in (None, left_half()):
        target = Target(torch.tensor([0]), masks, ignored=ignored)
        (((queries, _),),) = matcher([scores], [embeds], features, [target])
        found.append(queries.tolist())
    assert found == [[1], [0]]


# ------------------------------------------------------------- whole model


@pytest.fixture(scope='module')
def model():
    return build_model(tiny_model())


def sample_with(**meta):
    sample = data_sample(48, 80, [1, 4], 'panoptic')
    sample.set_metainfo(meta)
    return sample


def target_from(**meta) -> Target:
    return make_target(sample_with(**meta), 6, torch.device('cpu'))


@pytest.mark.parametrize('meta', [{}, dict(unlabelled_classes=())])
def test_by_default_every_class_and_pixel_is_labelled(meta):
    target = target_from(**meta)
    assert target.unlabelled_classes is None
    assert target.ignored is None


def test_a_target_has_the_objects_of_its_sample():
    sample = sample_with()
    target = target_from()
    assert len(target) == 2
    assert target.labels.tolist() == [1, 4]
    masks = torch.from_numpy(sample.gt_instances.masks.masks)
    assert target.masks.dtype == torch.bool
    assert target.masks.equal(masks.bool())


def test_unlabelled_classes_come_from_the_sample():
    target = target_from(unlabelled_classes=(0, 3))
    expected = [True, False, False, True, False, False]
    assert target.unlabelled_classes.tolist() == expected
    assert target.ignored is None


def test_padding_is_labelled_background():
    sample = sample_with()
    # The batch is larger than the image.
    sample.gt_instances.masks = sample.gt_instances.masks.pad((64, 96))
    semantic = torch.zeros(1, 48, 80, dtype=torch.uint8)
    semantic[0, :10] = 255
    sample.gt_sem_seg = PixelData(sem_seg=semantic)
    target = make_target(sample, 6, torch.device('cpu'))
    expected = torch.zeros(64, 96, dtype=torch.bool)
    expected[:10, :80] = True
    assert target.ignored.equal(expected)
    assert target.unlabelled_classes is None


def test_unlabelled_classes_are_not_trained_to_be_absent(model):
    """The bias of a class falls only where the class is labelled."""
    head, size = model.panoptic_head, (64, 96)
    gradients = []
    for labels in ((), (2,)):
        sample = data_sample(*size, [], 'panoptic')
        sample.set_metainfo(dict(unlabelled_classes=labels))
        model.zero_grad()
        torch.manual_seed(0)
        losses = model.loss(images(1, *size), [sample])
        sum(
            loss for name, loss in losses.items() if 'loss_cls' in name
        ).backward()
        gradients.append(head.cls_embed.bias.grad.clone())
    assert gradients[0][2] > 0  # pushed down
    assert gradients[1][2] < 0
    assert (gradients[1][[0, 1, 3, 4, 5]] > 0).all()
