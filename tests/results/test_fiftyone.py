"""Labels of FiftyOne, which takes them as its own."""

import numpy as np
import pytest

fo = pytest.importorskip('fiftyone', reason='fiftyone is optional')


def test_labels_hold_the_result(result):
    from projects.oneformer.results.fiftyone import mask_targets

    labels = result.to_fiftyone()
    assert set(labels) == {'panoptic', 'instance', 'semantic'}
    semantic = labels['semantic'].mask
    assert (semantic[result.semantic == 255] == 0).all()
    targets = mask_targets(result.classes)
    for segment in result.segments_of('semantic'):
        (value,) = np.unique(semantic[segment.mask])
        assert targets[int(value)] == segment.name
    for task in ('panoptic', 'instance'):
        segments = result.segments_of(task)
        found = labels[task].detections
        for own, segment in zip(found, segments, strict=True):
            assert (own.label, own.confidence) == (segment.name, segment.score)
            assert own.index == segment.id
            assert own.category_id == result.category_id(segment.label)
            whole = own.to_segmentation(frame_size=(8, 6), target=1).mask
            assert np.array_equal(whole == 1, segment.mask)


def test_a_sample_takes_them(result):
    sample = fo.Sample(filepath='two_cats.jpg', **result.to_fiftyone())
    assert len(sample.panoptic.detections) == 3
