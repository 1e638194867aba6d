"""Blocks put together are the masks that PyTorch resizes in one go."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from projects.oneformer.models.mask_blocks import (
    Block,
    MaskBlocks,
    mask_boxes,
)

# Network input, without its padding, original image; masks at a quarter.
SIZES = {
    'plain': ((32, 64), (32, 64), (32, 64)),
    'padded': ((64, 96), (50, 71), (50, 71)),
    'enlarged': ((32, 32), (31, 17), (75, 41)),
    'shrunk': ((96, 64), (89, 64), (37, 21)),
    'both': ((64, 64), (64, 33), (20, 75)),
    'one column': ((32, 32), (32, 3), (21, 1)),
    'one pixel': ((4, 4), (4, 4), (9, 5)),
}


@pytest.fixture(params=SIZES)
def meta(request) -> dict:
    keys = ('batch_input_shape', 'img_shape', 'ori_shape')
    return dict(zip(keys, SIZES[request.param], strict=True))


def draw(meta: dict, queries: int = 3) -> Tensor:
    height, width = (side // 4 for side in meta['batch_input_shape'])
    generator = torch.Generator().manual_seed(0)
    return 10 * torch.randn(queries, height, width, generator=generator)


def plain(masks: Tensor, meta: dict, rescale: bool = True) -> Tensor:
    """Resize whole masks with PyTorch: twice, with the padding off between."""

    def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(
            maps[None], size, mode='bilinear', align_corners=False
        )[0]

    height, width = meta['img_shape']
    masks = resize(masks, meta['batch_input_shape'])[:, :height, :width]
    return resize(masks, meta['ori_shape']) if rescale else masks


def put_together(blocks: MaskBlocks, *queries: Tensor) -> Tensor:
    """Return whole masks; NaN where no block is."""
    whole = None
    for block in blocks:
        logits = blocks.logits(block, *queries)
        if whole is None:
            whole = torch.full((len(logits), *blocks.size), float('nan'))
        y, x = block.place
        assert whole[:, y, x].isnan().all()
        whole[:, y, x] = logits
    return whole


def test_logits_are_interpolated_twice():
    masks = torch.tensor([[[0.0, 8.0]]])  # 1 x 2, of an input of 4 x 8
    meta = dict(batch_input_shape=(4, 8), img_shape=(4, 6), ori_shape=(4, 12))
    # To the input: 0 0 1 3 5 7 8 8. Padding off: 0 0 1 3 5 7. Twice as wide:
    expected = [0, 0, 0, 0.25, 0.75, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7]
    resized = put_together(MaskBlocks(masks, meta, side=5))
    assert resized.tolist() == [4 * [expected]]
    unscaled = put_together(MaskBlocks(masks, meta, rescale=False))
    assert unscaled.tolist() == [4 * [[0, 0, 1, 3, 5, 7]]]


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('side', [1, 7, 16, 128])
def test_blocks_are_parts_of_masks_resized_as_a_whole(meta, rescale, side):
    masks = draw(meta)
    found = put_together(MaskBlocks(masks, meta, rescale, side))
    expected = plain(masks, meta, rescale)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_logits_of_some_queries_come_in_the_order_asked_for(meta):
    blocks = MaskBlocks(draw(meta, 4), meta, side=9)
    whole = put_together(blocks)
    chosen = torch.tensor([2, 0, 2, 1])
    torch.testing.assert_close(
        put_together(blocks, chosen), whole[chosen], rtol=0, atol=2e-5
    )
    assert put_together(blocks, chosen[:0]).shape == (0, *blocks.size)


def test_masks_of_the_size_of_the_image_stay_as_they_are():
    masks = draw(dict(batch_input_shape=(80, 120)))  # 20 x 30
    meta = dict.fromkeys(('batch_input_shape', 'img_shape'), (20, 30))
    meta['ori_shape'] = (20, 30, 3)
    assert put_together(MaskBlocks(masks, meta, side=8)).equal(masks)


def test_places_far_from_the_corner_are_rounded_as_pytorch_does():
    # Steep enough that places differing by their rounding would show: by
    # more than one, were they computed in float64.
    masks = 1e4 * (-1.0) ** torch.arange(1333).view(1, 1, -1)
    meta = dict.fromkeys(('batch_input_shape', 'img_shape'), (1, 1333))
    meta['ori_shape'] = (1, 640)
    found = put_together(MaskBlocks(masks, meta))
    torch.testing.assert_close(found, plain(masks, meta), rtol=0, atol=0.2)


@pytest.mark.parametrize('side', [1, 7, 16])
def test_no_logit_of_a_block_is_beyond_its_bounds(meta, side):
    masks = draw(meta)
    masks[0] = -3.7  # rounding must not leave the bounds, either
    blocks = MaskBlocks(masks, meta, side=side)
    found = [
        torch.stack(blocks.logits(block).flatten(1).aminmax(dim=1))
        for block in blocks
    ]
    least, greatest = torch.stack(found, 2)
    assert (blocks.lower_bounds() <= least).all()
    assert (blocks.upper_bounds() >= greatest).all()
    # Not only safe, but of use: they are those of what is nearby.
    assert blocks.upper_bounds()[0].eq(greatest[0]).all()
    assert blocks.lower_bounds().shape == (3, len(list(blocks)))


def test_bounds_are_those_of_the_neighbourhood_of_a_block():
    masks = torch.zeros(1, 8, 8)
    masks[0, 0, 7] = 5.0
    meta = dict.fromkeys(
        ('batch_input_shape', 'img_shape', 'ori_shape'), (32, 32)
    )
    # Two by two blocks; the pixel is in the one at the top right.
    blocks = MaskBlocks(masks, meta, side=16)
    assert blocks.upper_bounds().tolist() == [[0, 5, 0, 0]]
    assert blocks.lower_bounds().tolist() == [[0, 0, 0, 0]]


def test_blocks_without_queries_are_left_out():
    meta = dict.fromkeys(
        ('batch_input_shape', 'img_shape', 'ori_shape'), (8, 12)
    )
    blocks = MaskBlocks(torch.zeros(3, 2, 3), meta, side=8)
    active = torch.tensor([[True, False], [False, False], [True, False]])
    ((block, queries),) = blocks.active_blocks(active)
    assert isinstance(block, Block)
    assert block.place == (slice(0, 8), slice(0, 8))
    assert queries.tolist() == [0, 2]
    assert [
        (block.place[1], queries.tolist())
        for block, queries in blocks.active_blocks(~active)
    ] == [(slice(0, 8), [1]), (slice(8, 12), [0, 1, 2])]
    assert blocks.active_blocks(active[:0]) == []


def test_boxes_are_as_small_as_the_masks_allow():
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 1, 2] = masks[0, 3, 6] = True
    masks[1] = True
    masks[3, 4, 0] = True
    boxes = mask_boxes(masks)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [
        [2, 1, 7, 4],
        [0, 0, 7, 5],
        [0, 0, 0, 0],
        [0, 4, 1, 5],
    ]
    assert mask_boxes(masks[:0]).shape == (0, 4)
