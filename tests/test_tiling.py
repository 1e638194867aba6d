"""Tiles: how they cover an image, and how their results become one."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.models.fusion_head import panoptic_result
from projects.oneformer.models.tiled_segmentation import SampleMosaic
from projects.oneformer.sample_result import segment_scores
from projects.oneformer.tiling import (
    Box,
    Instance,
    InstanceMosaic,
    SemanticMosaic,
    Tile,
    tile_grid,
)
from tests.rounding import assert_same_instances, assert_same_labels
from tests.test_inferencer import config, weights  # noqa: F401

CAT, DOG, SKY, VOID = 1, 3, 2, 6
# 4 rows and 10 columns: two tiles of 6 columns that share columns 4 and 5.
ROW = tile_grid(4, 10, size=6, overlap=2)


@pytest.mark.parametrize('overlap', [0, 2, 5])
@pytest.mark.parametrize('size', [(7, 31), (10, 10), (23, 19), (12, 1)])
def test_cores_cover_every_pixel_once_and_lie_in_their_tiles(size, overlap):
    covered = torch.zeros(size, dtype=torch.int64)
    whole = Box(0, 0, *size)
    for box, core in tile_grid(*size, 10, overlap):
        assert box.size == (min(size[0], 10), min(size[1], 10))
        assert box.common(whole) == box
        assert core.common(box) == core
        covered[core.within(whole)] += 1
    assert (covered == 1).all()


def test_neighbours_share_the_overlap_and_split_it_in_the_middle():
    left, right = ROW
    assert (left.box, right.box) == (Box(0, 0, 4, 6), Box(0, 4, 4, 10))
    assert (left.core, right.core) == (Box(0, 0, 4, 5), Box(0, 5, 4, 10))


@pytest.mark.parametrize('size, overlap', [(10, -1), (10, 6), (0, 0)])
def test_tiles_that_cannot_be_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f'size {size} and overlap {overlap}'):
        tile_grid(20, 20, size, overlap)


def test_score_maps_are_averaged_where_tiles_overlap():
    rng = np.random.default_rng(0)
    mosaic = SemanticMosaic(23, 19, num_classes=3)
    total, count = np.zeros((3, 23, 19), np.float32), np.zeros((23, 19))
    for tile in tile_grid(23, 19, 10, 4):
        area = tile.box.within(Box(0, 0, 23, 19))
        own = rng.random((3, *tile.box.size), np.float32)
        total[:, area[0], area[1]] += own
        count[area] += 1
        mosaic.add(tile, own)
        # Rows above are decided and forgotten.
        assert mosaic.sums.shape[1] <= 10
    assert count.max() > 1
    assert (mosaic.result() == (total / count).argmax(0)).all()


def panoptic_tile(
    codes: torch.Tensor, scores: dict[int, float] | None = None
) -> PixelData:
    scores = scores or {}
    return panoptic_result(
        codes,
        VOID,
        torch.tensor(list(scores), dtype=torch.int32),
        torch.tensor(list(scores.values())),
    )


def join_panoptic(
    size: tuple[int, int], tiles: list[tuple[Tile, PixelData]]
) -> PixelData:
    mosaic = SampleMosaic(*size, VOID, ['panoptic'], 0.0)
    for tile, result in tiles:
        mosaic.add(tile, DetDataSample(pred_panoptic_seg=result))
    sample = DetDataSample()
    mosaic.write(sample)
    return sample.pred_panoptic_seg


def panoptic(*tiles: list[int]) -> list[int]:
    joined = join_panoptic(
        (4, 10),
        [
            (tile, panoptic_tile(torch.tensor([row] * 4)))
            for tile, row in zip(ROW, tiles, strict=True)
        ],
    )
    result = joined.sem_seg[0]
    assert (result == result[0]).all()
    return result[0].tolist()


A, B, C = CAT + 1000, CAT + 2000, CAT + 3000


def test_a_thing_across_the_border_is_one_thing():
    found = panoptic([SKY, A, A, A, A, A], [B, B, B, DOG + 1000, VOID, SKY])
    dog = DOG + 2000
    assert found == [SKY, A, A, A, A, A, A, dog, VOID, SKY]


def test_things_of_different_classes_stay_apart():
    dog = DOG + 1000
    found = panoptic([SKY, A, A, A, A, A], [dog, dog, dog, SKY, SKY, SKY])
    assert found == [SKY, A, A, A, A, DOG + 2000, DOG + 2000, SKY, SKY, SKY]


def test_things_that_agree_on_half_of_what_both_tiles_show_stay_apart():
    # In columns 4 and 5: two pixels a row against one.
    found = panoptic([SKY, A, A, A, A, A], [SKY, A, A, SKY, SKY, SKY])
    assert found == [SKY, A, A, A, A, B, B, SKY, SKY, SKY]


def test_neighbours_within_a_tile_stay_apart():
    found = panoptic([A, A, A, A, A, B], [C, A, A, A, SKY, SKY])
    assert found == [A, A, A, A, A, B, B, B, SKY, SKY]


def test_a_thing_that_its_own_tile_does_not_keep_gets_no_number():
    # The left tile sees A in column 5 alone, which belongs to the right one.
    found = panoptic([SKY, SKY, SKY, SKY, SKY, A], [SKY, SKY, A, A, SKY, SKY])
    assert found == [SKY, SKY, SKY, SKY, SKY, SKY, A, A, SKY, SKY]


def test_what_is_void_in_its_own_tile_comes_from_the_other():
    # Column 5 belongs to the right tile, column 4 to the left one.
    found = panoptic([SKY, SKY, SKY, A, A, A], [VOID] * 6)
    assert found == [SKY, SKY, SKY, A, A, A, VOID, VOID, VOID, VOID]
    found = panoptic([VOID] * 6, [B, B, B, SKY, SKY, SKY])
    assert found == [VOID, VOID, VOID, VOID, A, A, A, SKY, SKY, SKY]


def test_pixels_of_another_tile_count_in_the_score():
    found = join_panoptic(
        (4, 10),
        [
            (tile, panoptic_tile(torch.tensor([row] * 4), scores))
            for tile, row, scores in (
                (ROW[0], [SKY, SKY, SKY, SKY, VOID, SKY], {SKY: 0.5}),
                (ROW[1], [SKY, VOID, VOID, VOID, VOID, VOID], {SKY: 0.9}),
            )
        ],
    )
    assert found.sem_seg[0, 0].tolist() == [SKY] * 6 + [VOID] * 4
    # Columns 0 to 3 and 5 come from the left tile, column 4 from the right.
    assert segment_scores(found) == pytest.approx({SKY: (5 * 0.5 + 0.9) / 6})


def test_a_thing_of_four_tiles_is_one_thing():
    truth = torch.full((10, 10), SKY)
    truth[2:8, 1:9] = A
    parts = [
        (tile, panoptic_tile(truth[tile.box.within(Box(0, 0, 10, 10))]))
        for tile in tile_grid(10, 10, 6, 2)
    ]
    found = join_panoptic((10, 10), parts).sem_seg[0]
    assert found.equal(truth.to(torch.int32))


def test_the_score_of_a_joined_segment_is_the_mean_over_its_pixels():
    left = torch.tensor([[SKY, A, A, A, A, A]] * 4)
    right = torch.tensor([[B, B, B, B, SKY, SKY]] * 4)
    found = join_panoptic(
        (4, 10),
        [
            (ROW[0], panoptic_tile(left, {SKY: 0.6, A: 0.9})),
            # C has no pixel.
            (ROW[1], panoptic_tile(right, {SKY: 0.9, B: 0.5, C: 0.1})),
        ],
    )
    # Columns 0 to 4 come from the left tile, the others from the right one:
    # of the cat 4 and 3, of the sky 1 and 2.
    assert segment_scores(found) == pytest.approx(
        {SKY: (0.6 + 2 * 0.9) / 3, A: (4 * 0.9 + 3 * 0.5) / 7}
    )


def instances(*found: tuple[int, float, slice]) -> InstanceData:
    masks = torch.zeros(len(found), 4, 6, dtype=torch.bool)
    for mask, (_, _, columns) in zip(masks, found, strict=True):
        mask[:, columns] = True
    return InstanceData(
        masks=masks,
        labels=torch.tensor([label for label, _, _ in found]),
        scores=torch.tensor([score for _, score, _ in found]),
    )


def joined(
    left: InstanceData, right: InstanceData, score_thr: float = 0.0
) -> list[tuple]:
    mosaic = SampleMosaic(4, 10, VOID, ['instance'], score_thr)
    for tile, result in zip(ROW, (left, right), strict=True):
        mosaic.add(tile, DetDataSample(pred_instances=result))
    sample = DetDataSample()
    mosaic.write(sample)
    result = sample.pred_instances
    return [
        (label, round(score, 2), mask[0].nonzero().flatten().tolist(), box)
        for label, score, mask, box in zip(
            result.labels.tolist(),
            result.scores.tolist(),
            result.masks,
            result.bboxes.tolist(),
            strict=True,
        )
    ]


def test_an_instance_across_the_border_is_one_with_the_largest_score():
    found = joined(
        instances((CAT, 0.5, slice(3, 6)), (DOG, 0.9, slice(3, 6))),
        instances((CAT, 0.8, slice(0, 4)), (CAT, 0.4, slice(4, 6))),
    )
    assert found == [
        (CAT, 0.8, [3, 4, 5, 6, 7], [3, 0, 8, 4]),
        (DOG, 0.9, [3, 4, 5], [3, 0, 6, 4]),
        (CAT, 0.4, [8, 9], [8, 0, 10, 4]),
    ]


def test_an_instance_is_joined_with_the_one_that_it_agrees_with_most():
    # Both lie on columns 4 and 5; only one can go on beyond them.
    left = instances((CAT, 0.9, slice(0, 6)), (CAT, 0.7, slice(4, 6)))
    left.masks[0, :, 5] = False
    left.masks[0, 0, 5] = True
    found = joined(left, instances((CAT, 0.8, slice(0, 3))))
    assert [(score, columns) for _, score, columns, _ in found] == [
        (0.9, [0, 1, 2, 3, 4, 5]),
        (0.8, [4, 5, 6]),
    ]


def test_instances_without_a_pixel_in_the_overlap_stay_apart():
    # The first and the last tile share rows and columns 4 and 5. The boxes
    # of both instances fill them, their pixels lie beside them.
    first, *_, last = tile_grid(10, 10, 6, 2)
    corners = np.zeros((6, 6), bool)
    corners[0, 5] = corners[5, 0] = True
    mosaic = InstanceMosaic(10, 10)
    for tile in (first, last):
        mosaic.add(tile, [Instance(CAT, 0.9, corners)])
    found = [np.argwhere(mask).tolist() for *_, mask in mosaic.result()]
    assert found == [[[0, 5], [5, 0]], [[4, 9], [9, 4]]]


def test_instances_below_the_threshold_are_dropped():
    left = instances((CAT, 0.5, slice(0, 2)), (CAT, 0.2, slice(0, 2)))
    found = joined(left, instances(), score_thr=0.3)
    assert [score for _, score, _, _ in found] == [0.5]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(
        0, 256, (40, 52, 3), dtype=np.uint8
    )


def test_one_tile_for_the_image_gives_the_plain_result(
    weights,  # noqa: F811
    image,
):
    plain = OneFormerInferencer(config(), weights, 'cpu')
    tiled = OneFormerInferencer(config(), weights, 'cpu', tile=52)
    (expected,), (found,) = plain.samples(image), tiled.samples(image)
    assert found.ori_shape == (40, 52)
    for name in ('pred_panoptic_seg', 'pred_sem_seg'):
        assert_same_labels(found.get(name).sem_seg, expected.get(name).sem_seg)
        assert (
            found.get(name).sem_seg.dtype == expected.get(name).sem_seg.dtype
        )
        own, other = found.get(name), expected.get(name)
        assert own.ignore_index == other.ignore_index
    scores = segment_scores(expected.pred_panoptic_seg)
    shown = expected.pred_panoptic_seg.sem_seg.unique().tolist()
    assert segment_scores(found.pred_panoptic_seg) == pytest.approx(
        {code: scores[code] for code in shown if code in scores}
    )
    assert_same_instances(found.pred_instances, expected.pred_instances)


def test_tiles_of_an_image_are_answered_together(
    weights,  # noqa: F811
    image,
    monkeypatch,
):
    tiled = OneFormerInferencer(config(), weights, 'cpu', tile=32, overlap=8)
    batches = []

    def segment(batch, tasks, semantic_scores) -> list[DetDataSample]:
        assert tasks == ('panoptic',) and semantic_scores
        batches.append(len(batch))
        return [
            DetDataSample(
                pred_panoptic_seg=panoptic_tile(
                    torch.full(entry['data_samples'].ori_shape, A)
                )
            )
            for entry in batch
        ]

    monkeypatch.setattr(tiled, '_segment', segment)
    (sample,) = tiled.samples(image, tasks='panoptic', batch_size=3)
    assert batches == [3, 1]
    assert sample.pred_panoptic_seg.sem_seg.unique().tolist() == [A]
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 40, 52)


def test_an_overlap_without_tiles_is_refused(weights):  # noqa: F811
    with pytest.raises(ValueError, match='set tile'):
        OneFormerInferencer(config(), weights, 'cpu', overlap=8)
