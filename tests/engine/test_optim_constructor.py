"""Learning rates and weight decays, parameter by parameter."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from projects.oneformer.engine import ModuleTypeOptimConstructor

LR, DECAY = 1e-4, 0.05


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.bias_table = nn.Parameter(torch.zeros(3))


class Toy(nn.Module):
    """Every kind of module and parameter that a rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.linear = nn.Linear(4, 5)
        self.norm = nn.LayerNorm(5)
        self.group_norm = nn.GroupNorm(1, 5)
        self.queries = nn.Embedding(6, 5)
        self.level_encoding = nn.Embedding(3, 5)
        self.scale = nn.Parameter(torch.ones(()))


def build(model: nn.Module, **paramwise_cfg) -> torch.optim.Optimizer:
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='ModuleTypeOptimConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
            paramwise_cfg=paramwise_cfg,
        ),
    )
    return wrapper.optimizer


def rates_of(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each trained parameter, by name."""
    rates = {}
    for group in optimizer.param_groups:
        for param in group['params']:
            assert id(param) not in rates, 'no parameter is in two groups'
            rates[id(param)] = (group['lr'], group['weight_decay'])
    return {
        name: rates.pop(id(param))
        for name, param in model.named_parameters()
        if id(param) in rates
    }


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope('mmdet')


def test_every_parameter_has_the_rates_of_its_module_and_name():
    model = Toy()
    optimizer = build(
        model,
        norm_decay_mult=0.0,
        embedding_decay_mult=0.5,
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'bias_table': dict(decay_mult=0.0),
            'level_encoding': dict(decay_mult=1.0),
        },
    )
    assert rates_of(model, optimizer) == {
        'backbone.conv.weight': (1e-5, 0.05),
        'backbone.conv.bias': (1e-5, 0.05),
        'backbone.bn.weight': (1e-5, 0.0),
        'backbone.bn.bias': (1e-5, 0.0),
        'backbone.bias_table': (1e-5, 0.0),
        'linear.weight': (1e-4, 0.05),
        'linear.bias': (1e-4, 0.05),
        'norm.weight': (1e-4, 0.0),
        'norm.bias': (1e-4, 0.0),
        'group_norm.weight': (1e-4, 0.0),
        'group_norm.bias': (1e-4, 0.0),
        'queries.weight': (1e-4, 0.025),
        'level_encoding.weight': (1e-4, 0.05),
        'scale': (1e-4, 0.05),
    }


def test_parameters_alike_share_one_group():
    config = dict(
        norm_decay_mult=0.0, custom_keys={'backbone': dict(lr_mult=0.1)}
    )
    groups = build(Toy(), **config).param_groups
    found = [(g['lr'], g['weight_decay'], len(g['params'])) for g in groups]
    assert sorted(found) == [
        (1e-5, 0.0, 2),
        (1e-5, 0.05, 3),
        (1e-4, 0.0, 4),
        (1e-4, 0.05, 5),
    ]


def test_the_longest_name_that_sets_a_value_wins():
    model = Toy()
    optimizer = build(
        model,
        custom_keys={
            'backbone.bn': dict(lr_mult=0.5),
            'backbone': dict(lr_mult=0.1, decay_mult=0.2),
            'backbone.bn.bias': dict(decay_mult=3.0),
        },
    )
    rates = rates_of(model, optimizer)
    assert rates['backbone.conv.bias'] == pytest.approx((1e-5, 0.01))
    assert rates['backbone.bn.weight'] == pytest.approx((5e-5, 0.01))
    assert rates['backbone.bn.bias'] == pytest.approx((5e-5, 0.15))


def test_a_name_wins_over_the_type_of_module():
    model = Toy()
    optimizer = build(
        model,
        norm_decay_mult=0.0,
        custom_keys={'group_norm': dict(decay_mult=2.0)},
    )
    rates = rates_of(model, optimizer)
    assert rates['group_norm.bias'] == (1e-4, 0.1)
    assert rates['norm.bias'] == (1e-4, 0.0)


def test_without_a_rule_for_them_norms_and_embeddings_decay():
    model = Toy()
    optimizer = build(model, custom_keys={'scale': dict(lr_mult=2.0)})
    rates = rates_of(model, optimizer)
    assert rates.pop('scale') == (2e-4, 0.05)
    assert set(rates.values()) == {(1e-4, 0.05)}
    assert len(rates) == 13


def test_frozen_parameters_are_left_out():
    model = Toy()
    model.backbone.conv.requires_grad_(False)
    model.scale.requires_grad_(False)
    rates = rates_of(model, build(model, norm_decay_mult=0.0))
    names = {name for name, _ in model.named_parameters()}
    left_out = {'backbone.conv.weight', 'backbone.conv.bias', 'scale'}
    assert set(rates) == names - left_out


def test_a_parameter_used_twice_is_trained_once():
    model = Toy()
    model.head = nn.Linear(4, 5)
    model.head.weight = model.linear.weight
    model.again = model.norm
    rates = rates_of(model, build(model, norm_decay_mult=0.0))
    assert rates['linear.weight'] == (1e-4, 0.05)
    assert len(rates) == 15  # those of Toy and the bias of the head


@pytest.mark.parametrize('norm', [nn.BatchNorm1d, nn.SyncBatchNorm])
def test_batch_norms_of_every_kind_are_norms(norm):
    model = nn.Sequential(nn.Linear(3, 4), norm(4))
    rates = rates_of(model, build(model, norm_decay_mult=0.0))
    assert rates['1.weight'] == rates['1.bias'] == (1e-4, 0.0)
    assert rates['0.weight'] == (1e-4, 0.05)


@pytest.mark.parametrize(
    ('missing', 'options'),
    [('lr', {}), ('weight_decay', dict(embedding_decay_mult=0.0))],
)
def test_a_value_that_is_to_be_multiplied_must_be_given(missing, options):
    optimizer = dict(type='AdamW', lr=LR, weight_decay=DECAY)
    del optimizer[missing]
    expected = f'Expected {missing} in the config of the optimizer'
    with pytest.raises(ValueError, match=expected):
        ModuleTypeOptimConstructor(dict(optimizer=optimizer), options)


def test_without_decay_there_is_none_to_set():
    model = Toy()
    constructor = ModuleTypeOptimConstructor(
        dict(optimizer=dict(type='SGD', lr=0.1)),
        dict(custom_keys={'backbone': dict(lr_mult=0.5)}),
    )
    rates = rates_of(model, constructor(model).optimizer)
    assert rates['backbone.bias_table'] == (0.05, 0)
    assert rates['scale'] == (0.1, 0)


def test_an_option_that_is_not_known_is_refused():
    with pytest.raises(ValueError) as caught:
        build(Toy(), norm_decay_mult=0.0, bias_lr_mult=2.0)
    assert "does not know ['bias_lr_mult'] of paramwise_cfg" in str(
        caught.value
    )
    assert 'it knows' in str(caught.value)
    assert 'embedding_decay_mult' in str(caught.value)


def test_an_option_of_a_name_that_is_not_known_is_refused():
    with pytest.raises(ValueError) as caught:
        build(Toy(), custom_keys={'backbone': dict(lr_mul=0.1)})
    expected = "does not know ['lr_mul'] of custom_keys['backbone']"
    assert expected in str(caught.value)
    assert "it knows ['decay_mult', 'lr_mult']" in str(caught.value)


def test_norms_of_a_class_can_be_left_to_decay():
    class OwnNorm(nn.LayerNorm):
        pass

    model = nn.Sequential(OwnNorm(3), nn.LayerNorm(3), nn.BatchNorm1d(3))
    options = dict(norm_decay_mult=0.0, decayed_norms=['OwnNorm'])
    assert rates_of(model, build(model, **options)) == {
        '0.weight': (1e-4, 0.05),
        '0.bias': (1e-4, 0.05),
        '1.weight': (1e-4, 0.0),
        '1.bias': (1e-4, 0.0),
        '2.weight': (1e-4, 0.0),
        '2.bias': (1e-4, 0.0),
    }


def test_the_classes_of_norms_are_a_list():
    expected = r"got the str 'OwnNorm': write \['OwnNorm'\]"
    with pytest.raises(ValueError, match=expected):
        build(Toy(), norm_decay_mult=0.0, decayed_norms='OwnNorm')


def test_a_sharded_part_has_the_rates_of_its_name():
    plain, sharded = Toy(), Toy()
    # As FSDP puts a module between a part and its parameters.
    inner = sharded.backbone
    sharded.backbone = nn.Module()
    sharded.backbone._fsdp_wrapped_module = inner
    rules = dict(custom_keys={'backbone.conv': dict(lr_mult=0.5)})
    expected = rates_of(plain, build(plain, **rules))
    found = rates_of(sharded, build(sharded, **rules))
    assert expected['backbone.conv.weight'][0] == LR / 2
    assert expected == {
        name.replace('_fsdp_wrapped_module.', ''): own
        for name, own in found.items()
    }
