"""Layer-wise decay of the learning rate, on rates worked out by hand."""

import pytest
from mmengine.optim import build_optim_wrapper

from tests.model_configs import build_model, tiny_eomt, tiny_model

LR = 1e-4


def rates_of(model, **paramwise_cfg) -> dict[str, dict]:
    """Return the group of the optimizer of each parameter, by its name."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='ViTOptimConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=0.05),
            paramwise_cfg=paramwise_cfg,
        ),
    )
    names = {id(param): name for name, param in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {
        names[id(param)]: group
        for group in groups
        for param in group['params']
    }


def expected_rate(name: str, joint: bool) -> float:
    """Of two blocks in the backbone and two joint ones."""
    if not name.startswith(('backbone.', 'panoptic_head.blocks.')):
        return 1e-4
    if 'backbone.blocks.1.' in name:
        return 6.4e-5
    if name.startswith('panoptic_head.blocks.0.'):
        return 8e-5 if joint else 1e-4
    if name.startswith('panoptic_head.blocks.1.'):
        return 1e-4
    # The embeddings as the first block.
    return 5.12e-5


@pytest.mark.parametrize('joint', [True, False])
@pytest.mark.parametrize('rotary', [True, False])
def test_each_block_has_four_fifths_of_the_next_ones_rate(joint, rotary):
    model = build_model(tiny_eomt(conditioned=True, rotary=rotary))
    groups = rates_of(model, decay_rate=0.8, decay_joint=joint)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    for name, group in groups.items():
        assert group['lr'] == pytest.approx(expected_rate(name, joint)), name


def test_every_parameter_decays_alike():
    groups = rates_of(build_model(tiny_eomt(conditioned=True)))
    assert {group['weight_decay'] for group in groups.values()} == {0.05}


def test_the_groups_say_what_belongs_to_the_vit():
    groups = rates_of(build_model(tiny_eomt(conditioned=True)))
    for name, group in groups.items():
        part = name.split('.')[1]
        vit = name.startswith('backbone.') or part in ('blocks', 'norm')
        assert group['vit'] == vit, name


def test_frozen_parameters_are_left_out():
    model = build_model(tiny_eomt())
    model.backbone.requires_grad_(False)
    assert not any('backbone' in name for name in rates_of(model))


def test_another_model_and_unknown_options_are_refused():
    with pytest.raises(ValueError, match='has SwinTransformer with OneForm'):
        rates_of(build_model(tiny_model()))
    with pytest.raises(ValueError, match="'norm_decay_mult'"):
        rates_of(build_model(tiny_eomt()), norm_decay_mult=0.0)
    with pytest.raises(ValueError, match='Expected lr'):
        build_optim_wrapper(
            build_model(tiny_eomt()),
            dict(
                constructor='ViTOptimConstructor', optimizer=dict(type='AdamW')
            ),
        )
