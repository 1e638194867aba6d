"""Run lengths, against pycocotools and by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from projects.oneformer.run_lengths import (
    encode_labels,
    encode_masks,
    rle_area,
    rle_box,
)


def expected_of(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(mask.shape), counts=rle['counts'].decode())


@pytest.mark.parametrize('share', [0.02, 0.5, 0.98])
@pytest.mark.parametrize('shape', [(5, 7, 11), (3, 1, 9), (3, 9, 1)])
def test_masks_are_encoded_as_by_pycocotools(shape, share):
    rng = np.random.default_rng(0)
    for _ in range(20):
        masks = rng.random(shape) < share
        rles = encode_masks(torch.from_numpy(masks))
        assert rles == [expected_of(mask) for mask in masks]


def test_runs_go_on_from_column_to_column():
    masks = torch.zeros(6, 3, 4, dtype=torch.bool)
    masks[0, :, 1:3] = True  # two whole columns
    masks[1, 2, 0] = masks[1, 0, 1] = True  # from one into the next
    masks[2] = True
    masks[4, 2, 3] = True  # the last pixel, before the first of the next
    masks[5, 0, 0] = True
    rles = encode_masks(masks)
    assert rles == [expected_of(mask.numpy()) for mask in masks]
    assert [rle_area(rle) for rle in rles] == [6, 2, 12, 0, 1, 1]
    assert rle_box(rles[0]) == [1, 0, 2, 3]
    assert rle_box(rles[3]) == [0, 0, 0, 0]


def test_no_mask_gives_no_run_lengths():
    assert encode_masks(torch.zeros(0, 3, 4, dtype=torch.bool)) == []


def test_masks_need_not_be_contiguous():
    masks = torch.rand(2, 6, 8) < 0.5
    expected = [expected_of(mask.T.numpy()) for mask in masks]
    assert encode_masks(masks.transpose(1, 2)) == expected


@pytest.mark.parametrize('kind', [np.uint8, np.int32, np.int64])
def test_labels_are_encoded_one_by_one(kind):
    rng = np.random.default_rng(1)
    for size in [(7, 11), (1, 9), (9, 1)] * 10:
        labels = rng.integers(0, 4, size).astype(kind)
        rles = encode_labels(labels, void=2)
        found = [label for label in np.unique(labels) if label != 2]
        assert list(rles) == found
        for label in found:
            assert rles[label] == expected_of(labels == label)


def test_a_map_of_one_label_is_one_run():
    labels = np.full((3, 4), 1007)
    assert encode_labels(labels, void=0) == {1007: expected_of(labels > 0)}
    assert encode_labels(labels, void=1007) == {}
