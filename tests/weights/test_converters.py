"""Tables of names; that they are right is shown by test_parity.py."""

import importlib
import sys

import pytest
import torch
from mmdet.models.layers import PatchMerging
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.weights import from_huggingface, huggingface
from projects.oneformer.weights.huggingface import TABLE, to_unfold_order
from projects.oneformer.weights.key_table import Row, convert, with_prefix

BLOCK = 'model.pixel_level_module.encoder.encoder.layers.1.blocks.0.'


def numbered(*names: str) -> dict[str, Tensor]:
    """Return a state dict of one value each, counted from 0."""
    return {name: torch.tensor([float(i)]) for i, name in enumerate(names)}


def test_numbers_and_the_rest_of_a_name_are_repeated():
    table = [Row('a.{i}.b.{j}.*', 'x.{j}.y.{i}.*')]
    converted = convert(numbered('a.10.b.2.weight', 'a.0.b.3.bias'), table)
    assert converted == numbered('x.2.y.10.weight', 'x.3.y.0.bias')


def test_a_name_matches_as_a_whole():
    table = [Row('a.*', 'x.*')]
    for name in ('a.b.weight', 'z.a.weight', 'aXweight', 'a.'):
        with pytest.raises(ValueError, match='1 of 1 entries are not known'):
            convert(numbered(name), table)


def test_parts_are_joined_in_the_order_of_the_table():
    table = [Row('a.{part}.*', 'x.*', parts=('q', 'k', 'v'))]
    state_dict = numbered('a.v.weight', 'a.q.weight', 'a.k.weight')
    converted = convert(state_dict, table)
    assert converted['x.weight'].tolist() == [1, 2, 0]


def test_a_missing_part_is_named():
    table = [Row('a.{part}.*', 'x.*', parts=('q', 'k', 'v'))]
    with pytest.raises(ValueError, match='x.bias without k. Is the file'):
        convert(
            numbered('a.q.weight', 'a.k.weight', 'a.v.weight')
            | numbered('a.q.bias', 'a.v.bias'),
            table,
        )


def test_tensors_are_changed_after_they_are_joined():
    table = [Row('a.{part}', 'x', ('q', 'k'), lambda tensor: tensor.flip(0))]
    converted = convert(numbered('a.q', 'a.k'), table)
    assert converted['x'].tolist() == [1, 0]


def test_entries_that_are_not_needed_are_dropped():
    assert convert(numbered('a'), [Row('a', None)]) == {}
    assert with_prefix('p.', 'q.', [Row('a', None)]) == [Row('p.a', None)]


def test_unknown_names_are_listed_as_in_the_file_but_not_all_of_many():
    names = [f'model.strange.{i}.weight' for i in range(25)]
    with pytest.raises(ValueError) as error:
        from_huggingface(numbered(*names))
    message = str(error.value)
    assert message.startswith('25 of 25 entries are not known')
    assert 'model.strange.0.weight, model.strange.1.weight' in message
    assert 'model.strange.20.' not in message and 'and 5 more' in message


def test_weights_of_the_bare_model_have_the_same_place():
    name = 'transformer_module.queries_embedder.weight'
    expected = {'panoptic_head.query_embed.weight'}
    assert from_huggingface(numbered(name)).keys() == expected
    assert from_huggingface(numbered(f'model.{name}')).keys() == expected


def test_queries_keys_and_values_of_a_window_become_one_matrix():
    state_dict = numbered(
        *(
            f'{BLOCK}attention.self.{part}.{kind}'
            for part in ('value', 'key', 'query')
            for kind in ('weight', 'bias')
        )
    )
    prefix = 'backbone.stages.1.blocks.0.attn.w_msa.qkv.'
    converted = from_huggingface(state_dict)
    assert converted[f'{prefix}weight'].tolist() == [4, 2, 0]
    assert converted[f'{prefix}bias'].tolist() == [5, 3, 1]


def test_patch_merging_gives_the_same_maps_in_either_order():
    channels, height, width = 3, 4, 6
    x = torch.randn(2, height, width, channels)
    weight = torch.randn(2 * channels, 4 * channels)
    scale, shift = torch.randn(2, 4 * channels)

    corners = [x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    normed = F.layer_norm(
        torch.cat(corners, -1), (4 * channels,), scale, shift
    )
    expected = F.linear(normed, weight).flatten(1, 2)

    merging = PatchMerging(channels, 2 * channels)
    merging.reduction.weight.data = to_unfold_order(weight)
    merging.norm.weight.data = to_unfold_order(scale)
    merging.norm.bias.data = to_unfold_order(shift)
    found, size = merging(x.flatten(1, 2), (height, width))
    assert size == (2, 3)
    torch.testing.assert_close(found, expected)


def test_no_two_rows_fill_the_same_entry():
    targets = [row.target for row in TABLE if row.target is not None]
    assert len(targets) == len(set(targets))
    sources = [row.source for row in TABLE]
    assert len(sources) == len(set(sources))


def test_the_temperature_becomes_float32():
    scale = torch.tensor(2.5, dtype=torch.float64)
    (converted,) = from_huggingface({'criterion.logit_scale': scale}).values()
    assert converted.dtype == torch.float32
    assert converted == 2.5


def test_converting_does_not_need_the_other_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    importlib.reload(huggingface)
