"""Queries: the task token after a look at the image."""

import pytest
import torch
from mmengine import ConfigDict
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.models import QueryInit
from projects.oneformer.models.layers.positions import sine_positions
from tests.model_configs import (
    build_model,
    data_sample,
    images,
    randomise,
    tiny_model,
)

BATCH, QUERIES, WIDTH, HEADS = 2, 5, 16, 4


def make_query_init(learned: bool = False) -> QueryInit:
    attention = dict(embed_dims=WIDTH, num_heads=HEADS, batch_first=True)
    module = QueryInit(
        WIDTH,
        ConfigDict(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=dict(attention, dropout=0.0),
                cross_attn_cfg=dict(attention, dropout=0.0),
                ffn_cfg=dict(
                    embed_dims=WIDTH, feedforward_channels=24, ffn_drop=0.0
                ),
            ),
        ),
        num_queries=QUERIES,
        learned_features=learned,
    )
    randomise(module)
    return module


@pytest.fixture
def query_init() -> QueryInit:
    return make_query_init()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Mask features, task tokens and query positions."""
    return (
        torch.randn(BATCH, WIDTH, 3, 5),
        torch.randn(BATCH, WIDTH),
        torch.randn(QUERIES, WIDTH),
    )


def attend(attn, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention of single matrices (N, C)."""
    weights = attn.in_proj_weight.chunk(3)
    biases = attn.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (HEADS, -1)).transpose(0, 1)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    weights = (q @ k.mT * (WIDTH // HEADS) ** -0.5).softmax(-1)
    return attn.out_proj((weights @ v).transpose(0, 1).flatten(1))


@pytest.mark.parametrize('learned', [False, True])
@torch.no_grad()
def test_queries_are_the_published_transformer_of_the_token(learned, inputs):
    query_init = make_query_init(learned)
    mask_features, tokens, query_embed = inputs
    found = query_init(mask_features, tokens, query_embed)
    assert found.shape == (BATCH, QUERIES, WIDTH)
    positions = sine_positions(mask_features)[0]
    for i in range(BATCH):
        pixels = mask_features[i].flatten(1).T  # (H * W, C)
        projection = query_init.input_proj
        pixels = F.linear(
            pixels, projection.weight[:, :, 0, 0], projection.bias
        )
        x, where = tokens[i].repeat(QUERIES - 1, 1), query_embed[:-1]
        if learned:
            x = x + query_init.query_feat.weight
        for layer in query_init.transformer.layers:
            first, second = layer.ffn.layers[0][0], layer.ffn.layers[1]
            attn = layer.self_attn.attn
            x = layer.norms[0](x + attend(attn, x + where, x + where, x))
            # Values are positions alone, keys positions plus features.
            attn, keys = layer.cross_attn.attn, positions + pixels
            x = layer.norms[1](x + attend(attn, x + where, keys, positions))
            x = layer.norms[2](x + second(first(x).relu()))
        expected = query_init.transformer.post_norm(x)
        torch.testing.assert_close(
            found[i, :-1], expected, atol=1e-5, rtol=1e-4
        )
        assert found[i, -1].equal(tokens[i])


@torch.no_grad()
def test_weights_without_features_give_the_same_results_with_them():
    config = tiny_model(training=False)
    before = build_model(config)
    config.panoptic_head.query_init.learned_features = True
    after = build_model(config, seed=1)
    after.load_state_dict(before.state_dict())
    features = after.panoptic_head.query_init.query_feat.weight
    assert not features.any()
    inputs = images(1, 64, 64)
    samples = [data_sample(64, 64, task='panoptic')]
    for found, expected in zip(
        after(inputs, samples, mode='tensor'),
        before(inputs, samples, mode='tensor'),
        strict=True,
    ):
        # Not the same operators: one start is expanded, the other a sum.
        torch.testing.assert_close(
            found[-1], expected[-1], atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_the_image_acts_through_the_attention_weights_only(query_init, inputs):
    mask_features, tokens, query_embed = inputs
    queries = query_init(mask_features, tokens, query_embed)
    # What all pixels share moves all keys alike, so no weight.
    shifted = query_init(
        mask_features + torch.randn(BATCH, WIDTH, 1, 1), tokens, query_embed
    )
    torch.testing.assert_close(shifted, queries, atol=1e-5, rtol=0)
    other = query_init(mask_features.flip(-1), tokens, query_embed)
    assert (other - queries)[:, :-1].abs().max() > 0.01


@torch.no_grad()
def test_the_position_of_the_task_query_has_no_part(query_init, inputs):
    mask_features, tokens, query_embed = inputs
    queries = query_init(mask_features, tokens, query_embed)
    query_embed[-1] += 1
    assert query_init(mask_features, tokens, query_embed).equal(queries)


@torch.no_grad()
def test_autocast_does_not_round_the_task_token(query_init, inputs):
    with torch.autocast('cpu', torch.bfloat16):
        queries = query_init(*inputs)
    assert queries[:, -1].equal(inputs[1])
