"""Mask annealing, on the released schedules and values by hand."""

from types import SimpleNamespace

import pytest

from projects.oneformer.engine import MaskAnnealingHook
from projects.oneformer.engine.mask_annealing_hook import default_phases
from tests.model_configs import build_model, tiny_eomt, tiny_model

# Iterations of the released configs: COCO, one schedule (88707 iterations).
RELEASED = {
    3: ([14782, 36955, 59128], [29564, 51737, 73910]),
    4: ([14782, 29564, 44346, 59128], [29564, 44346, 59128, 73910]),
    5: (
        [14782, 25869, 36955, 48042, 59128],
        [29564, 40651, 51737, 62824, 73910],
    ),
}


@pytest.mark.parametrize('blocks', [3, 4, 5])
def test_the_default_is_the_released_schedule_of_coco(blocks):
    starts, ends = zip(*default_phases(blocks), strict=True)
    total = 6 * 14782
    # To the nearest iteration, either way.
    assert [total * x for x in starts] == pytest.approx(
        RELEASED[blocks][0], abs=6
    )
    assert [total * x for x in ends] == pytest.approx(
        RELEASED[blocks][1], abs=6
    )


def runner_of(model, iteration: int = 0, max_iters: int = 100):
    return SimpleNamespace(model=model, iter=iteration, max_iters=max_iters)


def test_probabilities_fall_from_one_to_zero_in_turn():
    model = build_model(tiny_eomt())
    hook = MaskAnnealingHook(start=[0.1, 0.5], end=[0.3, 1.0])
    hook.before_train(runner_of(model))
    found = {0: model.panoptic_head.mask_probs.tolist()}
    for iteration in (9, 10, 20, 29, 30, 50, 75, 99, 100):
        hook.after_train_iter(runner_of(model, iteration - 1), 0)
        found[iteration] = model.panoptic_head.mask_probs.tolist()
    # (1 - progress) ** 0.9 of halves, of 19/20 and of 49/50.
    expected = {
        0: (1, 1),
        9: (1, 1),
        10: (1, 1),
        20: (0.535886731, 1),
        29: (0.067464142, 1),
        30: (0, 1),
        50: (0, 1),
        75: (0, 0.535886731),
        99: (0, 0.029575152),
        100: (0, 0),
    }
    for iteration, probs in expected.items():
        assert found[iteration] == pytest.approx(probs, abs=1e-6), iteration


def test_a_training_that_goes_on_starts_with_its_own_probabilities():
    model = build_model(tiny_eomt())
    hook = MaskAnnealingHook(start=[0.1, 0.5], end=[0.3, 1.0])
    hook.before_train(runner_of(model, 75))
    assert model.panoptic_head.mask_probs.tolist() == pytest.approx(
        [0, 0.535886731]
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='both start and end'):
        MaskAnnealingHook(start=[0.1])
    with pytest.raises(ValueError, match='a later end'):
        MaskAnnealingHook(start=[0.1, 0.5], end=[0.2, 0.5])
    hook = MaskAnnealingHook(start=[0.1], end=[0.2])
    with pytest.raises(ValueError, match='1 starts and ends, the model 2'):
        hook.before_train(runner_of(build_model(tiny_eomt())))
    with pytest.raises(ValueError, match='has a OneFormerHead'):
        MaskAnnealingHook().before_train(runner_of(build_model(tiny_model())))
