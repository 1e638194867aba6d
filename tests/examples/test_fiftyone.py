"""The model of FiftyOne, on FiftyOne's own base class."""

import numpy as np
import pytest

from tests.examples.loading import load_example
from tests.test_inferencer import config, image, weights  # noqa: F401

pytest.importorskip('fiftyone', reason='fiftyone is optional')


def test_labels_of_a_batch_are_those_of_the_model(weights, image):  # noqa: F811
    module = load_example('fiftyone/oneformer_model.py')
    model = module.OneFormerModel(config(), weights, device='cpu')
    assert model.media_type == 'image' and model.ragged_batches
    rgb = [image[..., ::-1], image[:32, :, ::-1]]
    labels = model.predict_all(rgb)
    for own, pixels in zip(labels, rgb, strict=True):
        (result,) = model.inferencer(pixels)
        assert set(own) == {'panoptic', 'instance', 'semantic'}
        assert np.array_equal(own['semantic'].mask, result.semantic + 1)
        assert [d.label for d in own['panoptic'].detections] == [
            segment.name for segment in result.segments
        ]
    (alone,) = model.predict_all(rgb[:1])
    assert np.array_equal(
        model.predict(rgb[0])['semantic'].mask, alone['semantic'].mask
    )
    targets = module.mask_targets(model.classes)
    assert targets[1] == 'wall' and len(targets) == 6
