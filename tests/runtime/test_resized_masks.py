"""Masks are resized as PyTorch does it, whatever the blocks."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from projects.oneformer.runtime.resized_masks import (
    ResizedMasks,
    Sizes,
    resize_matrix,
)


def test_a_matrix_interpolates_between_centres():
    # Centres of four places lie at -0.25, 0.25, 0.75 and 1.25 of two.
    assert resize_matrix(2, 4).tolist() == [
        [1, 0],
        [0.75, 0.25],
        [0.25, 0.75],
        [0, 1],
    ]
    assert resize_matrix(3, 3).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize('side', [7, 16, 128])
@pytest.mark.parametrize(
    'sizes',
    [
        Sizes((64, 96), (50, 71), (37, 53)),
        Sizes((64, 96), (64, 96), (64, 96)),
        Sizes((32, 32), (17, 32), (170, 331)),
    ],
)
def test_masks_equal_two_interpolations_with_a_crop_between(side, sizes):
    height, width = (length // 4 for length in sizes.padded)
    logits = torch.randn(5, height, width)
    expected = logits[None]
    for size, crop in (
        (sizes.padded, sizes.resized),
        (sizes.original, sizes.original),
    ):
        expected = F.interpolate(
            expected, size, mode='bilinear', align_corners=False
        )[..., : crop[0], : crop[1]]
    masks = ResizedMasks(logits.numpy(), sizes, side)
    found = np.full((2, *sizes.original), np.nan)
    for block in masks.blocks():
        y, x = block
        found[:, y, x] = masks.of(block, np.array([3, 0]))
    # Float32 rounds places of up to 331 by 2e-5.
    np.testing.assert_allclose(
        found, expected[0, [3, 0]].numpy(), atol=1e-4, rtol=0
    )
