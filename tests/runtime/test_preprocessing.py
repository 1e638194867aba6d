"""Images are prepared as the test pipeline and the preprocessor do it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from projects.oneformer.export.describe import describe_model
from projects.oneformer.images import ImageError
from projects.oneformer.runtime.preprocessing import new_size, prepare
from tests.exported_models import drawn_image, small_config
from tests.model_configs import build_model


@pytest.fixture(scope='module')
def model():
    return build_model(small_config('resnet').model)


def description_of(config, model):
    return describe_model(config, model, size=None)


@pytest.mark.parametrize('size', [(64, 96), (37, 53), (301, 120), (12, 200)])
@pytest.mark.parametrize(
    'resize',
    [
        dict(scale=(96, 64), keep_ratio=True, backend='pillow'),
        dict(scale=(96, 64), keep_ratio=True),
        dict(scale=(90, 50), backend='pillow'),
        dict(scale=80, keep_ratio=True),
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize('rgb', [True, False])
def test_the_input_has_the_bits_of_the_pipeline(model, size, resize, rgb):
    config = small_config('resnet')
    config.model.data_preprocessor.bgr_to_rgb = rgb
    steps = config.test_dataloader.dataset.pipeline
    steps[1:4] = [dict(type='Resize', **resize)] if resize else []
    init_default_scope('mmdet')
    pipeline = Compose(
        [dict(type='mmdet.LoadImageFromNDArray'), *steps[1:-1],
         dict(type='PackDetInputs', meta_keys=('img_shape',))]
    )  # fmt: skip
    image = drawn_image(*size)
    data = pseudo_collate([pipeline(dict(img=image, img_id=0))])
    preprocessor = MODELS.build(config.model.data_preprocessor)
    expected = preprocessor(data)
    found = prepare(image, description_of(config, model))
    assert torch.from_numpy(found.image).equal(expected['inputs'])
    (sample,) = expected['data_samples']
    assert found.resized == sample.img_shape
    assert found.padded == sample.batch_input_shape


def test_images_are_padded_to_a_fixed_size(model):
    known = description_of(small_config('resnet'), model)
    fixed = replace(known, size=(64, 128))
    image = drawn_image(64, 96)
    found = prepare(image, fixed)
    assert found.padded == (64, 128) and found.resized == (64, 96)
    free = prepare(image, known).image
    assert np.array_equal(found.image[..., :96], free)
    assert not found.image[..., 96:].any()


@pytest.mark.parametrize(
    ('given', 'size', 'expected'),
    [
        # Width and height, then the fixed height and width.
        ((96, 64), (64, 96), (96, 64)),
        ((64, 96), (64, 96), (43, 64)),  # upright: shrunk to the height
        ((300, 200), (64, 64), (64, 43)),  # shrunk to the width
    ],
)
def test_an_image_shrinks_until_it_fits_a_fixed_size(
    model, given, size, expected
):
    known = description_of(small_config('resnet'), model)
    assert new_size(given, replace(known, size=size)) == expected


def test_an_image_that_resizing_leaves_nothing_of_is_refused(model):
    known = description_of(small_config('resnet'), model)
    with pytest.raises(ImageError, match='96 x 0: it is too thin'):
        prepare(np.zeros((1, 1000, 3), np.uint8), known)
