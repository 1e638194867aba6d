"""Two warm-ups and a polynomial, on factors worked out by hand."""

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from torch import nn

import projects.oneformer  # noqa: F401

# Linear over 2 of 12 iterations, then (1 - t / 10) ** 0.9.
NEW = (
    *(0.0, 0.5, 1.0, 0.909532576, 0.818052146, 0.725417847),
    *(0.631445867, 0.535886731, 0.438383291, 0.338383462),
    *(0.234923789, 0.125892541),
)
# Nothing, linear over 4 more iterations, then (1 - t / 6) ** 0.9.
VIT = (
    *(0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0),
    *(0.848666147, 0.694253163, 0.535886731, 0.372041058, 0.199371866),
)


def optimizer_of(*groups: dict) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(1))], **g) for g in groups]
    )


def scheduler_of(optimizer, **options):
    return PARAM_SCHEDULERS.build(
        dict(type='TwoStageWarmupPolyLR', optimizer=optimizer, **options)
    )


def test_new_parameters_start_first_and_the_vit_follows():
    optimizer = optimizer_of(
        dict(lr=1.0, vit=False), dict(lr=1.0, vit=True), dict(lr=0.1, vit=True)
    )
    scheduler = scheduler_of(optimizer, warmup=2, vit_warmup=4, end=12)
    found = []
    for _ in range(12):
        found.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    new, vit, early_block = zip(*found, strict=True)
    assert new == pytest.approx(NEW, abs=1e-8)
    assert vit == pytest.approx(VIT, abs=1e-8)
    assert early_block == pytest.approx([0.1 * rate for rate in VIT], abs=1e-8)


def test_a_resumed_training_goes_on_where_it_stopped():
    optimizer = optimizer_of(dict(lr=1.0, vit=True))
    scheduler = scheduler_of(optimizer, warmup=2, vit_warmup=4, end=12)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    resumed = optimizer_of(dict(lr=1.0, vit=True))
    other = scheduler_of(resumed, warmup=2, vit_warmup=4, end=12)
    other.load_state_dict(scheduler.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    resumed.step()
    other.step()
    assert resumed.param_groups[0]['lr'] == pytest.approx(VIT[8])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(vit_warmup=10), 'leave nothing of the 12'),
        (dict(by_epoch=True), 'set by_epoch=False'),
        (dict(begin=3), 'and begin=0'),
    ],
)
def test_impossible_settings_are_refused(options, message):
    options = dict(warmup=2, vit_warmup=4, end=12) | options
    with pytest.raises(ValueError, match=message):
        scheduler_of(optimizer_of(dict(lr=1.0, vit=True)), **options)


def test_groups_must_say_what_they_are():
    with pytest.raises(ValueError, match='ViTOptimConstructor'):
        scheduler_of(
            optimizer_of(dict(lr=1.0)), warmup=2, vit_warmup=4, end=12
        )
