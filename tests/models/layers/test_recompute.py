"""Activation checkpointing: the same gradients from less memory."""

import pytest
import torch

from tests.kept_bytes import bytes_kept
from tests.model_configs import build_model, data_sample, images, tiny_model

SIZE = (64, 96)


def set_with_cp(model: torch.nn.Module, with_cp: bool) -> None:
    head = model.panoptic_head
    for part in (head, head.pixel_decoder, head.query_init):
        part.with_cp = with_cp


@pytest.fixture(scope='module')
def model():
    """A model with dropout, which has to be drawn again as it was."""
    return build_model(tiny_model(dropout=0.3)).train()


def losses_and_gradients(model, with_cp: bool) -> tuple[dict, dict]:
    set_with_cp(model, with_cp)
    model.zero_grad()
    torch.manual_seed(3)
    samples = [
        data_sample(*SIZE, [1, 2, 1], 'panoptic'),
        data_sample(*SIZE, [0], 'semantic'),
    ]
    losses = model(images(2, *SIZE), samples, 'loss')
    sum(losses.values()).backward()
    return losses, {
        name: param.grad.clone() for name, param in model.named_parameters()
    }


def test_losses_and_gradients_are_those_of_a_model_that_keeps_all(model):
    losses, gradients = losses_and_gradients(model, with_cp=False)
    again, gradients_again = losses_and_gradients(model, with_cp=True)
    for name, loss in losses.items():
        torch.testing.assert_close(again[name], loss, msg=name)
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradients_again[name], gradient, rtol=1e-5, atol=1e-6, msg=name
        )


def test_dropout_has_a_part_in_these_losses(model):
    losses, _ = losses_and_gradients(model, with_cp=False)
    model.eval()
    without, _ = losses_and_gradients(model, with_cp=False)
    model.train()
    # By far more than the losses above may differ.
    assert (losses['loss_cls'] / without['loss_cls'] - 1).abs() > 1e-3


@pytest.mark.parametrize(
    'part', ['pixel decoder', 'query initialisation', 'decoder']
)
def test_each_part_keeps_less_than_half(model, part):
    set_with_cp(model, False)
    head = model.panoptic_head
    feats = [feat.detach() for feat in model.backbone(images(1, *SIZE))]
    pixels = head.pixel_features(feats)
    token = head.task_token(['panoptic'])
    owner, run = {
        'pixel decoder': (
            head.pixel_decoder,
            lambda: head.pixel_features(feats),
        ),
        'query initialisation': (
            head.query_init,
            lambda: head.query_init(
                pixels.mask_features, token, head.query_embed.weight
            ),
        ),
        'decoder': (head, lambda: head.decode(pixels, ['panoptic'])),
    }[part]
    head.query_init.with_cp = part == 'decoder'  # which runs both
    everything = bytes_kept(run)
    owner.with_cp = True
    assert bytes_kept(run) < 0.5 * everything


def test_nothing_is_computed_again_without_gradients(model):
    set_with_cp(model, True)
    with torch.no_grad():
        feats = model.backbone(images(1, *SIZE))
        assert not model.panoptic_head.pixel_features(
            feats
        ).mask_features.grad_fn
