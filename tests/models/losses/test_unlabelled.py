"""What an annotation leaves open is not held against the model."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from projects.oneformer.models import QueryMatcher
from projects.oneformer.models.losses.criterion import (
    join_open_classes,
    leave_out_cells,
)
from projects.oneformer.models.losses.matcher import Match, make_tables
from projects.oneformer.models.losses.point_sampling import Unlabelled
from tests import model_configs
from tests.model_configs import build_model, data_sample, images, tiny_model

CLASSES, QUERIES, WIDTH = 4, 6, 8
FEATURE_SIZE, MASK_SIZE = (8, 10), (32, 40)
NOTHING_OPEN = Unlabelled(torch.zeros(CLASSES, dtype=torch.bool), None)


@pytest.fixture
def criterion():
    return MODELS.build(dict(model_configs.criterion(), num_classes=CLASSES))


def open_classes(*labels: int) -> Tensor:
    classes = torch.zeros(CLASSES, dtype=torch.bool)
    classes[list(labels)] = True
    return classes


def left_half() -> Tensor:
    """Unlabelled pixels: the left half, five columns of features."""
    pixels = torch.zeros(MASK_SIZE, dtype=torch.bool)
    pixels[:, :20] = True
    return pixels


def make_target(*labels: int) -> InstanceData:
    return InstanceData(
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.rand(len(labels), *MASK_SIZE) < 0.5,
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


def test_an_unmatched_query_may_be_no_object_or_of_an_open_class(criterion):
    # Probabilities 0.1, 0.2, 0.3, 0.15 and 0.25 for "no object".
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).log()[None]
    loss = criterion.classification_loss(
        scores,
        [make_target()],
        [match([], [])],
        [Unlabelled(open_classes(1, 3), None)],
    )
    expected = -math.log(0.25 + 0.2 + 0.15)
    assert float(loss) == pytest.approx(2.0 * expected, rel=1e-5)


def test_a_matched_query_is_of_its_class_and_of_no_open_one(criterion):
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).log()[None]
    loss = criterion.classification_loss(
        scores,
        [make_target(2)],
        [match([0], [0])],
        [Unlabelled(open_classes(1, 3), None)],
    )
    assert float(loss) == pytest.approx(-2.0 * math.log(0.3), rel=1e-6)


def test_nothing_pushes_an_open_class_of_an_unmatched_query_down():
    logits = torch.randn(QUERIES, CLASSES + 1, requires_grad=True)
    unmatched = torch.tensor([True] * 3 + [False] * 3)
    joined = join_open_classes(logits, unmatched, open_classes(0, 2))
    labels = torch.tensor([CLASSES] * 3 + [1, 3, 1])
    torch.nn.functional.cross_entropy(joined, labels).backward()
    gradient = logits.grad
    # Descent raises what has a negative gradient.
    assert (gradient[:3][:, [0, 2, 4]] < 0).all()
    assert (gradient[:3][:, [1, 3]] > 0).all()
    # A matched query is known not to be of another class.
    assert (gradient[3:][:, [0, 2]] > 0).all()
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(QUERIES))


def test_with_all_classes_open_an_unmatched_query_learns_nothing(criterion):
    scores = make_predictions()[0].requires_grad_()
    loss = criterion.classification_loss(
        scores,
        [make_target()],
        [match([], [])],
        [Unlabelled(open_classes(0, 1, 2, 3), None)],
    )
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert scores.grad.abs().max() < 1e-6


def test_each_image_has_its_own_open_classes(criterion):
    scores = make_predictions(2)[0]
    nothing = [make_target(), make_target()]
    matches = [match([], [])] * 2
    open_ = Unlabelled(open_classes(1), None)
    loss = criterion.classification_loss(
        scores, nothing, matches, [None, open_]
    )
    alone = [
        criterion.classification_loss(
            scores[i : i + 1], nothing[:1], matches[:1], [own]
        )
        for i, own in enumerate([None, open_])
    ]
    torch.testing.assert_close(loss, sum(alone) / 2)


@pytest.mark.parametrize('open_', [None, NOTHING_OPEN])
def test_with_nothing_open_the_losses_do_not_change(criterion, open_):
    scores, embeds, features = make_predictions(2)
    targets = [make_target(3, 1), make_target()]
    losses = []
    for unlabelled in (None, [open_, open_]):
        torch.manual_seed(1)
        losses.append(
            criterion([scores], [embeds], features, targets, unlabelled)
        )
    torch.testing.assert_close(*losses)


# ------------------------------------------------------------------- pixels


def test_the_loss_of_an_unmatched_query_counts_as_its_mask_is_labelled(
    criterion, monkeypatch
):
    scores, embeds, _ = make_predictions()
    # Two queries: certain of the left half and of all, respectively; the
    # third of the right half only.
    features = torch.zeros(WIDTH, *FEATURE_SIZE)
    features[0, :, :5], features[1, :, 5:] = 1, 1
    embeds = torch.zeros(3, WIDTH)
    embeds[:, :2] = torch.tensor([[50.0, -50], [50, 50], [-50, 50]])
    points = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.8, 0.5]])
    monkeypatch.setattr(torch, 'rand', lambda *_, **__: points)
    share = criterion.labelled_share(
        embeds, features, Unlabelled(open_classes(), left_half())
    )
    torch.testing.assert_close(
        share, torch.tensor([0.0, 0.25, 1.0]), atol=1e-5, rtol=0
    )

    scores = scores[:, :3]
    losses = -scores[0].log_softmax(-1)[:, -1]
    loss = criterion.classification_loss(
        scores,
        [make_target()],
        [match([], [])],
        [Unlabelled(open_classes(), left_half())],
        [share],
    )
    expected = (0.25 * losses[1] + losses[2]) / 3
    torch.testing.assert_close(loss, 2 * expected, atol=1e-4, rtol=1e-4)


def test_a_matched_query_counts_fully_wherever_its_mask_is(criterion):
    scores = make_predictions()[0][:, :1]
    loss = criterion.classification_loss(
        scores,
        [make_target(2)],
        [match([0], [0])],
        [Unlabelled(open_classes(), left_half())],
        [torch.zeros(1)],
    )
    expected = -2 * scores[0, 0].log_softmax(-1)[2]
    torch.testing.assert_close(loss, expected)


def test_a_picture_without_a_labelled_pixel_teaches_nothing(criterion):
    scores, embeds, features = make_predictions()
    for tensor in (scores, embeds, features):
        tensor.requires_grad_()
    everywhere = Unlabelled(
        open_classes(), torch.ones(MASK_SIZE, dtype=torch.bool)
    )
    losses = criterion(
        [scores], [embeds], features, [make_target()], [everywhere]
    )
    sum(losses.values()).backward()
    assert all(float(loss.detach()) < 1e-6 for loss in losses.values())
    assert scores.grad.abs().max() < 1e-6


def test_a_mask_that_is_nowhere_counts_fully(criterion):
    share = criterion.labelled_share(
        torch.full((1, WIDTH), -100.0),
        torch.ones(WIDTH, *FEATURE_SIZE),
        Unlabelled(open_classes(), left_half()),
    )
    assert share.tolist() == [1.0]


def losses_of_masks(criterion, embeds, features, target, open_):
    torch.manual_seed(3)
    matches = [match([0, 4], [1, 0])]
    num_masks = torch.tensor(2.0)
    return criterion.mask_losses(
        embeds, features, [target], matches, num_masks, [open_]
    )


def disturbed(features: Tensor) -> Tensor:
    """Other predictions on the left, up to a column before the border.

    What is labelled beside the border is interpolated from that column.
    """
    changed = features.clone()
    changed[..., :4] = 30 * torch.randn_like(changed[..., :4])
    return changed


def test_predictions_where_nothing_is_labelled_change_no_mask_loss(criterion):
    _, embeds, features = make_predictions()
    target = make_target(3, 1)
    target.masks[:, :, :20] = False
    open_ = Unlabelled(open_classes(), left_half())
    arguments = (embeds, features, target, open_)
    before = losses_of_masks(criterion, *arguments)
    after = losses_of_masks(
        criterion, embeds, disturbed(features), target, open_
    )
    torch.testing.assert_close(after, before)
    # The test can fail: it does where the same pixels are background.
    before = losses_of_masks(criterion, embeds, features, target, None)
    after = losses_of_masks(
        criterion, embeds, disturbed(features), target, None
    )
    for loss, other in zip(before, after, strict=True):
        assert (other / loss - 1).abs() > 0.01


def test_no_gradient_comes_from_where_nothing_is_labelled(criterion):
    _, embeds, features = make_predictions()
    features.requires_grad_()
    losses = losses_of_masks(
        criterion,
        embeds,
        features,
        make_target(3, 1),
        Unlabelled(open_classes(), left_half()),
    )
    sum(losses).backward()
    assert not features.grad[..., :4].any()
    assert features.grad[..., 5:].any()


def test_with_no_labelled_pixel_the_masks_learn_nothing(criterion):
    _, embeds, features = make_predictions()
    embeds.requires_grad_()
    everywhere = torch.ones(MASK_SIZE, dtype=torch.bool)
    losses = losses_of_masks(
        criterion,
        embeds,
        features,
        make_target(3, 1),
        Unlabelled(open_classes(), everywhere),
    )
    sum(losses).backward()
    assert [float(loss.detach()) for loss in losses] == [0, 0]
    assert not embeds.grad.any()


def test_points_do_not_gather_where_nothing_is_labelled(criterion):
    # Uncertain on the left, which is open, and certain on the right.
    logits = torch.full((1, *FEATURE_SIZE), 20.0)
    logits[..., :5] = 0
    criterion.num_points = 200
    matches = [match([0], [0])]
    shares = []
    for open_ in (None, Unlabelled(open_classes(), left_half())):
        seen = leave_out_cells(logits, matches, [open_])
        points = criterion.draw_points(seen)
        shares.append(float((points[..., 0] < 0.5).float().mean()))
    # Three quarters are chosen, and the others are uniform.
    assert shares[0] > 0.8
    assert shares[1] < 0.25


def test_costs_do_not_depend_on_what_is_not_labelled():
    matcher = QueryMatcher(num_points=200)
    scores, embeds, features = make_predictions()
    target = make_target(3, 1)
    open_ = Unlabelled(open_classes(), left_half())
    costs = []
    for own, left in ((features, 0), (disturbed(features), 1)):
        other = InstanceData(labels=target.labels, masks=target.masks.clone())
        other.masks[:, :, :20] = bool(left)
        torch.manual_seed(3)
        costs.append(
            matcher.cost(
                scores[0], embeds[0], make_tables(own[0], other), other, open_
            )
        )
    torch.testing.assert_close(*costs)
    torch.manual_seed(3)
    without = matcher.cost(
        scores[0], embeds[0], make_tables(features[0], target), target
    )
    assert (without - costs[0]).abs().min() > 0.01


def test_matching_leaves_out_what_is_not_labelled():
    # Query 0 fits on the right and covers the left, too; query 1 fits a
    # little less on the right and is right to leave the left alone, if that
    # were background.
    features = torch.zeros(1, 3, *FEATURE_SIZE)
    features[0, 0, :, :5], features[0, 1, :, 5:] = 1, 1
    features[0, 2, :4, 5:] = 1
    embeds = torch.tensor([[[20.0, 20, 0], [-20, 20, -22]]])
    target = InstanceData(
        labels=torch.tensor([0]),
        masks=torch.zeros(1, *MASK_SIZE, dtype=torch.bool),
    )
    target.masks[:, :, 20:] = True
    scores = torch.zeros(1, 2, CLASSES + 1)
    matcher = QueryMatcher(num_points=500)
    found = []
    for open_ in (None, Unlabelled(open_classes(), left_half())):
        (((queries, _),),) = matcher(
            [scores], [embeds], features, [target], [open_]
        )
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


def test_a_sample_that_leaves_nothing_open_says_so(model):
    head = model.panoptic_head
    assert head.unlabelled_of(sample_with(), (64, 96)) is None
    nothing = sample_with(unlabelled_classes=())
    assert head.unlabelled_of(nothing, (64, 96)) is None


def test_open_classes_come_from_the_sample(model):
    sample = sample_with(unlabelled_classes=(0, 3))
    found = model.panoptic_head.unlabelled_of(sample, (64, 96))
    assert found.classes.tolist() == [True, False, False, True, False, False]
    assert found.pixels is None


def test_padding_is_labelled_background(model):
    sample = sample_with()
    semantic = torch.zeros(1, 48, 80, dtype=torch.uint8)
    semantic[0, :10] = 255
    sample.gt_sem_seg = PixelData(sem_seg=semantic)
    found = model.panoptic_head.unlabelled_of(sample, (64, 96))
    expected = torch.zeros(64, 96, dtype=torch.bool)
    expected[:10, :80] = True
    assert found.pixels.equal(expected)
    assert not found.classes.any()


def test_a_model_is_not_told_that_open_classes_are_absent(model):
    """The bias of an open class falls only where the class is labelled."""
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
