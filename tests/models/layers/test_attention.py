"""Attention equals mmcv's, with what is shared not repeated."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention

from projects.oneformer.models.layers.attention import (
    Attention,
    fold_tasks,
    unfold_tasks,
)

HEADS, WIDTH, QUERIES, TOKENS = 4, 32, 5, 7


@pytest.fixture(params=[0.0, 0.5], ids=['plain', 'dropout'])
def pair(request):
    """Ours and mmcv's with the same weights, in evaluation."""
    options = dict(
        embed_dims=WIDTH,
        num_heads=HEADS,
        dropout=request.param,
        batch_first=True,
    )
    ours, theirs = Attention(**options), MultiheadAttention(**options)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs.eval()


def cross_inputs(batch: int) -> dict:
    mask = torch.rand(batch, QUERIES, TOKENS) < 0.4
    mask[:, 0] = False
    return dict(
        query=torch.randn(batch, QUERIES, WIDTH, requires_grad=True),
        key=torch.randn(batch, TOKENS, WIDTH, requires_grad=True),
        value=torch.randn(batch, TOKENS, WIDTH, requires_grad=True),
        query_pos=torch.randn(1, QUERIES, WIDTH),
        key_pos=torch.randn(1, TOKENS, WIDTH),
        attn_mask=mask & ~mask.all(-1, keepdim=True),
    )


def test_cross_attention_equals_mmcv_with_a_mask_per_head(pair):
    ours, theirs = pair
    inputs = cross_inputs(3)
    found = ours(**inputs)
    repeated = inputs['attn_mask'].repeat_interleave(HEADS, 0)
    expected = theirs(**dict(inputs, attn_mask=repeated))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    tensors = [inputs[name] for name in ('query', 'key', 'value')]
    for mine, other in (
        (
            tensors + list(ours.parameters()),
            tensors + list(theirs.parameters()),
        ),
    ):
        target = torch.randn_like(found)
        for a, b in zip(
            torch.autograd.grad(found, mine, target),
            torch.autograd.grad(expected, other, target),
            strict=True,
        ):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_self_attention_equals_mmcv(pair):
    ours, theirs = pair
    x = torch.randn(2, QUERIES, WIDTH)
    position = torch.randn(1, QUERIES, WIDTH)
    inputs = dict(
        query=x, key=x, value=x, query_pos=position, key_pos=position
    )
    torch.testing.assert_close(
        ours(**inputs), theirs(**inputs), atol=1e-5, rtol=1e-5
    )


def test_values_may_be_shared_by_all_images(pair):
    ours, theirs = pair
    inputs = cross_inputs(3)
    del inputs['attn_mask']
    inputs['value'] = inputs['value'][:1]
    found = ours(**inputs)
    expected = theirs(**dict(inputs, value=inputs['value'].expand(3, -1, -1)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_queries_of_several_tasks_see_the_same_keys(pair):
    ours, _ = pair
    inputs = cross_inputs(2)
    queries = torch.randn(3 * 2, QUERIES, WIDTH)  # 3 tasks, 2 images
    mask = torch.rand(3 * 2, QUERIES, TOKENS) < 0.3
    mask &= ~mask.all(-1, keepdim=True)
    found = ours(**dict(inputs, query=queries, attn_mask=mask))
    for task in range(3):
        rows = slice(2 * task, 2 * task + 2)
        alone = ours(**dict(inputs, query=queries[rows], attn_mask=mask[rows]))
        torch.testing.assert_close(found[rows], alone, atol=1e-5, rtol=1e-5)


def test_folding_puts_the_tasks_of_an_image_side_by_side():
    x = torch.tensor([[10], [20], [11], [21]])  # task-major, 2 images
    folded = fold_tasks(x, 2)
    assert folded.tolist() == [[10, 11], [20, 21]]
    assert unfold_tasks(folded, 4).equal(x)
    assert fold_tasks(x, 4) is x and unfold_tasks(x, 4) is x


def test_dropout_acts_in_training_only(pair):
    ours, _ = pair
    inputs = cross_inputs(2)
    ours.train()
    differ = not ours(**inputs).equal(ours(**inputs))
    assert differ == (ours.attn.dropout > 0)
    ours.eval()
    assert ours(**inputs).equal(ours(**inputs))
