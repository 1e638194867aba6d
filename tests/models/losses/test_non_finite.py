"""Batches that are not finite are left out, named and counted."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger

from projects.oneformer.models.losses.non_finite import NonFiniteError
from tests.model_configs import build_model, data_sample, images, tiny_model

SIZE = (64, 96)


@pytest.fixture(scope='module')
def model():
    cfg = tiny_model()
    cfg.panoptic_head.transformer_decoder.num_layers = 3
    return build_model(cfg)


@pytest.fixture
def limit_of_two(model):
    model.non_finite.limit = 2
    model.non_finite.in_a_row = 0
    return model


def losses_of(model, pictures, labels=([1, 2], [0])):
    samples = [
        data_sample(*SIZE, own, task)
        for own, task in zip(labels, ('panoptic', 'semantic'), strict=True)
    ]
    return model(pictures, samples, 'loss')


def broken(value: float = torch.nan):
    pictures = images(2, *SIZE)
    pictures[1, :, 3, 5] = value
    return pictures


def test_the_losses_are_zero_and_so_is_every_gradient(limit_of_two):
    limit_of_two.zero_grad()
    losses = losses_of(limit_of_two, broken(torch.inf))
    total = sum(losses.values())
    assert total == 0
    total.backward()
    for name, param in limit_of_two.named_parameters():
        assert param.grad is not None, name
        assert not param.grad.any(), name


def test_frozen_parameters_get_no_gradient(limit_of_two):
    weight = limit_of_two.panoptic_head.cls_embed.weight
    weight.requires_grad_(False)
    limit_of_two.zero_grad()
    sum(losses_of(limit_of_two, broken()).values()).backward()
    weight.requires_grad_(True)
    assert weight.grad is None


def test_the_log_names_the_first_tensor_and_counts(limit_of_two, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        losses_of(limit_of_two, broken())
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert '1 in a row of 2 allowed' in record.message
    assert 'but mask_features has' in record.message


def test_one_more_than_allowed_in_a_row_ends_the_training(limit_of_two):
    for _ in range(2):
        losses_of(limit_of_two, broken())
    with pytest.raises(FloatingPointError, match='3 batches in a row'):
        losses_of(limit_of_two, broken())


def test_a_finite_batch_resets_the_count(limit_of_two):
    for pictures in (broken(), images(2, *SIZE), broken(), broken()):
        losses = losses_of(limit_of_two, pictures)
    assert losses.keys() == {'loss_left_out'}
    with pytest.raises(FloatingPointError):
        losses_of(limit_of_two, broken())


def test_with_a_limit_of_zero_the_first_batch_ends_the_training(model):
    model.non_finite.limit = 0
    with pytest.raises(NonFiniteError, match='mask_features'):
        losses_of(model, broken())


def test_images_without_objects_are_looked_at_too(limit_of_two):
    losses = losses_of(limit_of_two, broken(), labels=([], []))
    assert losses.keys() == {'loss_left_out'}


def test_texts_are_looked_at_too(model):
    model.non_finite.limit = 0
    weight = model.panoptic_head.text_mapper.context.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match='but texts has'):
        losses_of(model, images(2, *SIZE))
    with torch.no_grad():
        weight.copy_(before)


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match='max_non_finite of 0 or more'):
        build_model(dict(tiny_model(), max_non_finite=-1))
