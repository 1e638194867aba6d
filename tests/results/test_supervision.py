"""Detections of supervision, drawn and measured by supervision."""

from dataclasses import replace

import numpy as np
import pytest

sv = pytest.importorskip('supervision', reason='supervision is optional')


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_detections_are_the_segments(result, task):
    found = result.to_supervision(task)
    segments = result.segments_of(task)
    assert len(found) == len(segments)
    assert found.area.tolist() == [s.area for s in segments]
    assert np.array_equal(found.mask, [s.mask for s in segments])
    assert found.data['class_name'].tolist() == [s.name for s in segments]
    # The boxes that supervision itself finds end at the last pixel.
    boxes = sv.mask_to_xyxy(found.mask)
    assert (found.xyxy - boxes == [0, 0, 1, 1]).all()


def test_scores_labels_and_ids_come_along(result):
    found = result.to_supervision('panoptic')
    assert found.confidence == pytest.approx([0.95, 0.9, 0.6])
    assert found.class_id.tolist() == [2, 0, 0]
    assert found.data['category_id'].tolist() == [187, 17, 17]
    assert found.data['is_thing'].tolist() == [False, True, True]
    assert result.to_supervision('semantic').confidence is None
    assert found[found.data['is_thing']].confidence.tolist() == (
        found.confidence[1:].tolist()
    )


def test_nothing_found_gives_no_detections(result):
    found = replace(result, instances=[]).to_supervision('instance')
    assert len(found) == 0 and found.mask.shape == (0, 6, 8)


def test_supervision_draws_them(result):
    scene = result.image.copy()
    drawn = sv.MaskAnnotator().annotate(
        scene, result.to_supervision('panoptic')
    )
    changed = (drawn != result.image).any(-1)
    np.testing.assert_array_equal(changed, result.panoptic > 0)
