"""A description says of a model what its config and weights say."""

import pytest
import torch

from projects.oneformer.errors import InputError
from projects.oneformer.export.describe import describe_model, weights_digest
from projects.oneformer.runtime.description import read_description
from tests.exported_models import small_config
from tests.model_configs import METAINFO, build_model
from tests.pipeline_steps import step_of


def test_classes_come_with_their_colours_and_ids():
    config = small_config('resnet')
    colors = [[10 * i, 0, 255] for i in range(6)]
    config.model.metainfo = dict(
        METAINFO, palette=colors, category_ids=[1, 2, 3, 5, 8, 13]
    )
    known = describe_model(config, build_model(config.model), (64, 96))
    assert known.classes == METAINFO['classes']
    assert known.palette[2] == (20, 0, 255)
    assert known.category_ids == (1, 2, 3, 5, 8, 13)
    assert known.size == (64, 96)
    # What a file holds gives the same description.
    assert read_description(known.to_metadata('model'), 'a') == (
        'model',
        known,
    )


def test_a_fixed_size_holds_the_images_that_are_resized_to_one_size():
    config = small_config('resnet')
    resize = step_of(config.test_dataloader.dataset.pipeline, 'Resize')
    resize.update(scale=(128, 96), keep_ratio=False)
    model = build_model(config.model)
    assert describe_model(config, model, (96, 128)).size == (96, 128)
    with pytest.raises(InputError, match='height of 96 and a width of 128 or'):
        describe_model(config, model, (128, 96))


def test_the_digest_changes_with_any_weight():
    model = build_model(small_config('resnet').model)
    before = weights_digest(model)
    assert before == weights_digest(model)
    with torch.no_grad():
        model.panoptic_head.cls_embed.bias[-1] += 1
    assert weights_digest(model) != before
