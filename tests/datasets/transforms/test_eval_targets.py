"""Ground truth for the metrics, on a map small enough to read."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import EvalTargets

SKY, CAT, DOG = range(3)
# 7 is a cat, 300 the sky, 9 a crowd of dogs, 0 void; 8 is not there.
IDS = np.array(
    [
        [300, 300, 300, 0],
        [7, 7, 300, 9],
        [0, 7, 9, 9],
    ]
)
SEGMENTS = [
    dict(id=9, category=DOG, is_thing=True, iscrowd=True),
    dict(id=300, category=SKY, is_thing=False, iscrowd=False),
    dict(id=8, category=DOG, is_thing=True, iscrowd=False),
    dict(id=7, category=CAT, is_thing=True, iscrowd=False),
]


def targets_of(ids=IDS, segments=SEGMENTS, num_classes=3) -> dict:
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    results = dict(
        gt_seg_map=coded,
        segments_info=segments,
        classes=[str(label) for label in range(num_classes)],
    )
    return EvalTargets().transform(results)


def test_the_semantic_map_has_labels_and_255_for_void():
    semantic = targets_of()['gt_seg_map']
    assert semantic.dtype == np.uint8
    assert semantic.flags.c_contiguous
    assert semantic.tolist() == [
        [SKY, SKY, SKY, 255],
        [CAT, CAT, SKY, DOG],
        [255, CAT, DOG, DOG],
    ]


def test_segments_come_with_run_lengths_and_area():
    segments = targets_of()['segments_info']
    assert [s['id'] for s in segments] == [9, 300, 7]
    assert [s['area'] for s in segments] == [3, 4, 3]
    for segment in segments:
        mask = coco_mask.decode(segment['segmentation'])
        assert mask.tolist() == (segment['id'] == IDS).tolist()
        assert type(segment['segmentation']['counts']) is str
    assert segments[0] == dict(
        SEGMENTS[0], area=3, segmentation=segments[0]['segmentation']
    )


def test_instances_are_the_things_with_their_boxes():
    crowd, cat = targets_of()['instances']
    # Boxes are (left, top, right, bottom), the last two outside.
    assert crowd['bbox'] == [2, 1, 4, 3]
    assert crowd['bbox_label'] == DOG
    assert crowd['ignore_flag'] == 1
    assert cat['bbox'] == [0, 1, 2, 3]
    assert cat['bbox_label'] == CAT
    assert cat['ignore_flag'] == 0
    assert coco_mask.decode(cat['mask']).tolist() == (IDS == 7).tolist()


def test_a_crowd_of_stuff_is_no_instance():
    segments = [dict(id=9, category=SKY, is_thing=False, iscrowd=True)]
    results = targets_of(segments=segments)
    assert results['instances'] == []
    assert results['segments_info'][0]['iscrowd'] is True


@pytest.mark.parametrize('segments', [[], SEGMENTS])
def test_a_void_image_has_no_segments(segments):
    results = targets_of(np.zeros((2, 5), int), segments)
    assert results['gt_seg_map'].tolist() == [[255] * 5] * 2
    assert results['segments_info'] == []
    assert results['instances'] == []


def test_the_annotation_is_not_changed():
    before = [dict(segment) for segment in SEGMENTS]
    targets_of()
    assert before == SEGMENTS


@pytest.mark.parametrize(
    ('num_classes', 'void'), [(255, 255), (256, 65535), (900, 65535)]
)
def test_void_is_no_class_however_many_there_are(num_classes, void):
    last = num_classes - 1
    segments = [dict(id=7, category=last, is_thing=True, iscrowd=False)]
    results = targets_of(segments=segments, num_classes=num_classes)
    semantic = results['gt_seg_map']
    assert semantic.tolist() == [
        [void] * 4,
        [last, last, void, void],
        [void, last, void, void],
    ]
    # PyTorch takes it.
    assert torch.from_numpy(semantic).max() == max(void, last)


def test_many_segments_equal_a_comparison_one_by_one():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 301, (40, 50))
    segments = [
        dict(
            id=number,
            category=int(rng.integers(20)),
            is_thing=bool(rng.integers(2)),
            iscrowd=False,
        )
        for number in range(1, 301)
    ]
    results = targets_of(ids, segments, num_classes=20)
    semantic = np.full(ids.shape, 255)
    for segment in segments:
        semantic[ids == segment['id']] = segment['category']
    assert (results['gt_seg_map'] == semantic).all()
    assert len(results['segments_info']) > 256
    for segment in results['segments_info']:
        mask = ids == segment['id']
        assert segment['area'] == mask.sum()
        assert (coco_mask.decode(segment['segmentation']) == mask).all()
