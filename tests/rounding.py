"""How far results may differ that other kernels have computed.

PyTorch and MKL choose a kernel by processor, shapes, memory layout and number
of threads, and each kernel sums up in its own order. Only the very same
operators on the very same shapes give the same bits; a batch of another size
is another shape. Everything else is compared here, within what rounding does.
"""

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

# Float32 rounds by 6e-8. The sums of the tiny models have some hundred terms
# and some ten layers, which leaves 1e-6 of the largest value.
ROUNDING = 1e-5
# A label changes where its score leads by less than the rounding. Random
# scores are that close in far fewer pixels than this.
TIES = 1e-3


def assert_same_values(
    found: Tensor, expected: Tensor, rounding: float = ROUNDING
) -> None:
    """Compare floats relative to the largest: sums may cancel to about 0."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(
        found, expected, rtol=0, atol=rounding * max(scale, 1e-30)
    )


def assert_same_labels(
    found: Tensor | np.ndarray, expected: Tensor | np.ndarray
) -> None:
    """Compare labels or masks of pixels, except for as many as may tie."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert found.shape == expected.shape
    differ = (found != expected).sum().item()
    assert differ <= TIES * found.numel(), f'{differ} of {found.numel()}'


def lead(scores: Tensor) -> Tensor:
    """Return by how much the largest of K scores leads, (H, W)."""
    best, second = scores.topk(2, dim=0).values
    return best - second


def assert_same_instances(found: InstanceData, expected: InstanceData) -> None:
    """Compare instances, which come in any order, by label and score."""
    assert found.keys() == expected.keys()
    assert len(found) == len(expected)
    found, expected = (
        part[torch.from_numpy(np.lexsort((part.scores, part.labels)))]
        for part in (found, expected)
    )
    assert found.labels.equal(expected.labels)
    torch.testing.assert_close(found.scores, expected.scores)
    assert_same_labels(found.masks, expected.masks)
    same = (found.masks == expected.masks).flatten(1).all(1)
    assert found.bboxes[same].equal(expected.bboxes[same])


def assert_same_matching(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], cost: Tensor
) -> None:
    """Compare pairs of queries and objects by what they cost: they may tie.

    Args:
        found (tuple[Tensor, Tensor]): Indices of queries and of objects.
        expected (tuple[Tensor, Tensor]): Those of an independent matching.
        cost (Tensor): Of each query and object, (Q, N).
    """
    for queries, objects in (found, expected):
        assert len(queries) == len(objects) == min(cost.shape)
        assert len(queries.unique()) == len(objects.unique()) == len(queries)
    torch.testing.assert_close(
        cost[tuple(found)].sum(),
        cost[tuple(expected)].sum(),
        atol=1e-4,
        rtol=1e-5,
    )
