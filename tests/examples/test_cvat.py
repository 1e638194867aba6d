"""The auto-annotation function of CVAT, decoded by its SDK."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.examples.loading import load_example
from tests.test_inferencer import config, image, weights  # noqa: F401

auto_annotation = pytest.importorskip(
    'cvat_sdk.auto_annotation', reason='cvat-sdk is optional'
)


@pytest.fixture(scope='module')
def module():
    return load_example('cvat/oneformer_function.py')


def context(**options) -> SimpleNamespace:
    defaults = dict(
        frame_name='a.jpg', conf_threshold=None, conv_mask_to_poly=False
    )
    return SimpleNamespace(**defaults | options)


@pytest.fixture
def photo(image):  # noqa: F811
    return Image.fromarray(image)


def test_the_labels_are_the_classes(module, weights):  # noqa: F811
    function = module.create(config=config(), weights=weights, device='cpu')
    labels = {label.id: label.name for label in function.spec.labels}
    assert labels == dict(
        enumerate(('wall', 'cat', 'sky', 'dog', 'car', 'road'))
    )
    some = module.create(config(), weights, classes='sky,cat', device='cpu')
    assert {label.id: label.name for label in some.spec.labels} == {
        1: 'cat',
        2: 'sky',
    }
    with pytest.raises(ValueError, match=r"Unknown classes \['tree'\]"):
        module.create(config(), weights, classes='tree', device='cpu')


def test_the_masks_are_those_of_the_model(module, weights, photo):  # noqa: F811
    from cvat_sdk.masks import decode_mask

    function = module.create(config(), weights, device='cpu')
    shapes = function.detect(context(), photo)
    (result,) = function.inferencer(photo, 'panoptic')
    assert shapes
    for shape, segment in zip(shapes, result.segments, strict=True):
        assert shape.label_id == segment.label
        mask = decode_mask(shape.points, image_width=52, image_height=40)
        assert np.array_equal(mask, segment.mask)


def test_shapes_below_the_threshold_are_left_out(module, weights, photo):  # noqa: F811
    for task in ('panoptic', 'instance'):
        function = module.create(config(), weights, task, device='cpu')
        everything = function.detect(context(conf_threshold=0.0), photo)
        (result,) = function.inferencer(photo, task, score_thr=0)
        scores = sorted(s.score for s in result.segments_of(task))
        assert len(everything) == len(scores) > 0
        best = function.detect(context(conf_threshold=scores[-1]), photo)
        assert len(best) == scores.count(scores[-1])
        assert not function.detect(context(conf_threshold=1.0), photo)


def test_polygons_come_where_cvat_asks_for_them(module, weights, photo):  # noqa: F811
    function = module.create(config(), weights, device='cpu')
    shapes = function.detect(context(conv_mask_to_poly=True), photo)
    assert shapes
    assert {shape.type.value for shape in shapes} == {'polygon'}
    assert all(len(shape.points) >= 6 for shape in shapes)
