"""The text branch agrees with a plain one written out without shortcuts."""

import pytest
import torch
from mmengine import ConfigDict
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.models import TextMapper
from projects.oneformer.text import CLIPTokenizer
from tests.model_configs import randomise

QUERIES, CONTEXT, WIDTH, HEADS = 5, 2, 128, 2
FILLER = 'a panoptic photo'
TEXTS = [
    ['a photo with a cat', 'a photo with a cat', 'a photo with a dog'],
    [],
    [
        'a photo with a toilet, can, commode, crapper, pot, potty, stool',
        'a photo with a dog',
    ],
]
FILLERS = [FILLER, FILLER, 'an instance photo']


@pytest.fixture
def mapper() -> TextMapper:
    mapper = TextMapper(
        QUERIES,
        WIDTH,
        num_context=CONTEXT,
        num_layers=2,
        tokenizer=ConfigDict(type='CLIPTokenizer'),
    )
    randomise(mapper)
    return mapper


def attention(x: Tensor, layer, blocked: Tensor) -> Tensor:
    """Attend over all positions of (N, L, C) with an additive mask."""
    q, k, v = (
        part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part in F.linear(
            x, layer.attn.in_proj_weight, layer.attn.in_proj_bias
        ).chunk(3, dim=-1)
    )  # (N, heads, L, C / heads)
    logits = q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5 + blocked
    mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return F.linear(
        mixed, layer.attn.out_proj.weight, layer.attn.out_proj.bias
    )


def encode_plainly(mapper: TextMapper, texts: list[str]) -> Tensor:
    """Encode every text by itself in full length, as published."""
    ids = CLIPTokenizer()(texts)  # (N, 77)
    encoder = mapper.encoder
    blocked = torch.full((77, 77), -torch.inf).triu(1)
    x = encoder.token_embedding(ids) + encoder.positional_embedding
    for layer in encoder.layers:
        x = x + attention(layer.norm1(x), layer, blocked)
        hidden = layer.fc1(layer.norm2(x))
        x = x + layer.fc2(hidden * (1.702 * hidden).sigmoid())
    x = encoder.final_norm(x)
    end = [row.index(49407) for row in ids.tolist()]
    x = x[range(len(texts)), end]
    first, last = mapper.projector
    return last(first(x).relu())


def map_plainly(mapper: TextMapper) -> Tensor:
    images = []
    for texts, filler in zip(TEXTS, FILLERS, strict=True):
        slots = texts + (QUERIES - CONTEXT - len(texts)) * [filler]
        images.append(
            torch.cat([encode_plainly(mapper, slots), mapper.context.weight])
        )
    return torch.stack(images)


def test_text_queries_are_those_of_the_plain_branch(mapper):
    queries = mapper(TEXTS, FILLERS)
    assert queries.shape == (len(TEXTS), QUERIES, WIDTH)
    torch.testing.assert_close(
        queries, map_plainly(mapper), atol=1e-5, rtol=1e-5
    )


def test_gradients_are_those_of_the_plain_branch(mapper):
    towards = torch.randn(len(TEXTS), QUERIES, WIDTH)
    grads = []
    for queries in (mapper(TEXTS, FILLERS), map_plainly(mapper)):
        mapper.zero_grad()
        (queries * towards).sum().backward()
        grads.append({n: p.grad for n, p in mapper.named_parameters()})
    for name, grad in grads[0].items():
        scale = float(grads[1][name].abs().max())
        assert scale > 0
        torch.testing.assert_close(
            grad, grads[1][name], atol=1e-5 * scale + 1e-6, rtol=0
        )


@torch.no_grad()
def test_the_shortcuts_change_no_more_than_rounding():
    """In float64, so that rounding is far below what a mistake would do."""
    mapper = TextMapper(
        QUERIES,
        WIDTH,
        num_context=CONTEXT,
        num_layers=2,
        tokenizer=ConfigDict(type='CLIPTokenizer'),
    ).double()
    randomise(mapper)
    torch.testing.assert_close(
        mapper(TEXTS, FILLERS), map_plainly(mapper), atol=1e-10, rtol=0
    )


def test_each_distinct_text_is_encoded_once_and_no_longer_than_needed(
    mapper, monkeypatch
):
    seen, lengths = [], []
    tokenize = mapper.tokenizer

    def record_ids(module, args):
        seen.append(args[0])

    def record_length(module, args):
        lengths.append(args[0].shape[1])

    monkeypatch.setattr(mapper, 'tokenizer', tokenize)
    mapper.encoder.register_forward_pre_hook(record_ids)
    mapper.encoder.layers[0].register_forward_pre_hook(record_length)
    mapper(TEXTS, FILLERS)
    texts = {text for image in TEXTS for text in image} | set(FILLERS)
    assert sorted(seen[0].tolist()) == sorted(tokenize(list(texts)).tolist())
    longest = max(len(tokenize.encode(text)) + 2 for text in texts)
    assert lengths == [longest]
    assert longest < 77


def test_what_follows_in_the_sentence_has_no_influence(mapper):
    """Attention is causal: the first token never sees the second."""
    outputs = []
    mapper.encoder.layers[-1].register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    mapper.encode(['a cat'])
    mapper.encode(['a dog'])
    changed = (outputs[0] - outputs[1]).abs().amax(-1)[0] > 1e-4
    # Start, "a", the noun, end.
    assert changed.tolist() == [False, False, True, True]


def test_a_text_of_full_length_is_encoded_up_to_its_cut(mapper):
    long = 'a photo with a ' + 80 * 'cat '
    torch.testing.assert_close(
        mapper.encode([long, FILLER]),
        encode_plainly(mapper, [long, FILLER]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_the_learned_context_comes_last_and_is_the_same_for_every_image(
    mapper,
):
    queries = mapper(TEXTS, FILLERS)
    for image in queries:
        assert image[-CONTEXT:].equal(mapper.context.weight)


def test_slots_hold_the_first_texts_then_the_filler(mapper):
    slots = QUERIES - CONTEXT
    many = [f'a photo with a {i}' for i in range(slots + 3)]
    (queries,) = mapper([many], [FILLER])
    expected = mapper.encode(many[:slots])
    torch.testing.assert_close(queries[:slots], expected)
    (queries,) = mapper([many[:2]], [FILLER])
    (filler,) = mapper.encode([FILLER])
    torch.testing.assert_close(queries[:2], expected[:2])
    for slot in queries[2:slots]:
        torch.testing.assert_close(slot, filler)


@pytest.mark.parametrize('context', [QUERIES, QUERIES + 1])
def test_a_context_that_leaves_no_text_slot_is_refused(context):
    with pytest.raises(ValueError, match=f'num_context={context} leaves no'):
        TextMapper(
            QUERIES, WIDTH, context, 1, ConfigDict(type='CLIPTokenizer')
        )
