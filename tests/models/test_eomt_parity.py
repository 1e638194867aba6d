"""EoMT against transformers: every prediction, losses, gradients."""

import pytest
import torch
from torch.nn import functional as F

from tests.eomt_oracle import (
    SIZE,
    dinov3_pair,
    make_pair,
    oracle_predictions,
)
from tests.model_configs import (
    NUM_POINTS,
    NUM_QUERIES,
    data_sample,
    images,
)

# Both compute in float32, in another order: products of 64 and 96 terms, in
# four blocks whose results have a scale of up to ten.
TOLERANCE = dict(atol=2e-4, rtol=1e-4)


@pytest.fixture
def pictures():
    return images(2, SIZE, SIZE)


@torch.no_grad()
@pytest.mark.parametrize('probs', [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_every_prediction_is_that_of_transformers(probs, pictures):
    oracle, ours = make_pair(probs)
    theirs = oracle_predictions(oracle, pictures)
    found = ours(pictures, mode='tensor')
    assert len(found[0]) == 1 + sum(prob > 0 for prob in probs)
    for own, expected in zip(found, theirs[:2], strict=True):
        for own_layer, expected_layer in zip(own, expected, strict=True):
            torch.testing.assert_close(own_layer, expected_layer, **TOLERANCE)


@torch.no_grad()
def test_masks_change_the_predictions(pictures):
    free = make_pair((0.0, 0.0)).ours(pictures, mode='tensor')
    masked = make_pair((1.0, 1.0)).ours(pictures, mode='tensor')
    difference = (free[0][-1] - masked[0][-1]).abs().max()
    assert difference > 100 * TOLERANCE['atol']


@torch.no_grad()
@pytest.mark.parametrize('prob', [0.0, 1.0])
def test_predictions_in_training_are_those_of_transformers(prob, pictures):
    oracle, ours = make_pair((prob, prob))
    theirs = oracle_predictions(oracle.train(), pictures)
    found = ours.train()(pictures, mode='tensor')
    assert len(found[0]) == 3
    for own, expected in zip(found, theirs[:2], strict=True):
        for own_layer, expected_layer in zip(own, expected, strict=True):
            torch.testing.assert_close(own_layer, expected_layer, **TOLERANCE)


@torch.no_grad()
def test_the_same_queries_are_left_free_by_chance(pictures):
    oracle, ours = make_pair((0.5, 0.3))
    torch.manual_seed(4)
    theirs = oracle_predictions(oracle.train(), pictures)
    torch.manual_seed(4)
    found = ours.train()(pictures, mode='tensor')
    torch.testing.assert_close(found[0][-1], theirs[0][-1], **TOLERANCE)


@pytest.mark.parametrize('prob', [0.0, 1.0])
def test_losses_and_gradients_are_those_of_transformers(
    prob, pictures, monkeypatch
):
    oracle, ours = make_pair((prob, prob))
    samples = [
        data_sample(SIZE, SIZE, [1, 2, 1], 'panoptic', 0),
        data_sample(SIZE, SIZE, [0, 4], 'panoptic', 1),
    ]
    labels = dict(
        mask_labels=[
            sample.gt_instances.masks.to_tensor(torch.float, 'cpu')
            for sample in samples
        ],
        class_labels=[sample.gt_instances.labels for sample in samples],
    )
    criterion = ours.panoptic_head.criterion
    matcher, matches, points = criterion.matcher, [], []

    def match(*args):
        matches.extend(matcher(*args))
        return matches

    def draw_points(logits):
        points.append(torch.rand(len(logits), NUM_POINTS, 2))
        return points[-1]

    monkeypatch.setattr(criterion, 'matcher', match)
    monkeypatch.setattr(criterion, 'draw_points', draw_points)
    losses = ours.train()(pictures, samples, 'loss')
    assert len(losses) == 9  # of three predictions, no texts

    given = iter(matches), iter(points)
    monkeypatch.setattr(
        oracle.criterion.matcher, 'forward', lambda *_: next(given[0])
    )
    monkeypatch.setattr(
        oracle.criterion,
        'sample_points_using_uncertainty',
        lambda *_, **__: next(given[1]),
    )
    *_, expected = oracle_predictions(oracle.train(), pictures, **labels)
    total = sum(losses.values())
    torch.testing.assert_close(total, expected.squeeze(), rtol=1e-5, atol=0)

    total.backward()
    expected.backward()
    pairs = {
        'backbone.patch_embed.weight': (
            oracle.embeddings.patch_embeddings.projection.weight
        ),
        'backbone.blocks.0.scale1': oracle.layers[0].layer_scale1.lambda1,
        'panoptic_head.query_embed.weight': oracle.query.weight,
        'panoptic_head.blocks.1.ffn.fc2.weight': (
            oracle.layers[3].mlp.fc2.weight
        ),
        'panoptic_head.upscale.0.enlarge.weight': (
            oracle.upscale_block.block[0].conv1.weight
        ),
        'panoptic_head.norm.weight': oracle.layernorm.weight,
    }
    parameters = dict(ours.named_parameters())
    for name, theirs in pairs.items():
        own = parameters[name].grad
        # Of a sum over all predictions, relative to the largest.
        scale = float(theirs.grad.abs().max())
        torch.testing.assert_close(
            own, theirs.grad, rtol=1e-3, atol=1e-4 * scale
        )


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 64), (64, 96)])
def test_first_and_joint_blocks_of_dinov3_are_those_of_transformers(size):
    """With queries between, which the oracle's blocks take as a prefix."""
    theirs, ours = dinov3_pair()
    pictures = images(2, *size)
    head = ours.panoptic_head
    x = theirs.embeddings(pictures)
    positions = theirs.rope_embeddings(pictures)
    for layer in theirs.layer[:2]:
        x = layer(x, position_embeddings=positions)
    pixels = ours.extract_feat(pictures)
    torch.testing.assert_close(pixels.tokens, x, **TOLERANCE)

    queries = head.query_embed.weight.expand(2, -1, -1)
    x = torch.cat([queries, x], 1)
    grid = (size[0] // 16, size[1] // 16)

    def predict(x):
        x = theirs.norm(x)
        patches = x[:, NUM_QUERIES + 5 :].transpose(1, 2)
        features = head.upscale(patches.unflatten(2, grid))
        embeds = head.mask_embed(x[:, :NUM_QUERIES])
        return head.cls_embed(x[:, :NUM_QUERIES]), torch.einsum(
            'bqc,bchw->bqhw', embeds, features
        )

    expected = []
    for layer in theirs.layer[2:]:
        expected.append(predict(x))
        inside = F.interpolate(expected[-1][1], grid, mode='bilinear') > 0
        mask = torch.ones(2, x.shape[1], x.shape[1], dtype=torch.bool)
        mask[:, :NUM_QUERIES, NUM_QUERIES + 5 :] = inside.flatten(2)
        x = layer(x, mask[:, None], positions)
    expected.append(predict(x))
    head.set_mask_probs([1, 1])
    found = zip(*ours(pictures, mode='tensor'), strict=True)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own[0], other[0], **TOLERANCE)
        torch.testing.assert_close(own[1], other[1], **TOLERANCE)


@torch.no_grad()
def test_coordinates_are_rescaled_in_training_as_in_transformers():
    theirs, ours = dinov3_pair()
    pictures = images(1, SIZE, SIZE)
    torch.manual_seed(2)
    cos, sin = theirs.train().rope_embeddings(pictures)
    torch.manual_seed(2)
    rotation = ours.train().backbone(pictures).rotation
    # Angles up to 12: a rounding step of them is 1e-6.
    torch.testing.assert_close(rotation.cos, cos, atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.sin, sin, atol=1e-5, rtol=0)
    constant, _ = theirs.eval().rope_embeddings(pictures)
    assert (constant - cos).abs().max() > 0.1
