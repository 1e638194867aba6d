"""Ground truth of each task, on a map small enough to read."""

import numpy as np
import pytest

from projects.oneformer.datasets import TaskTargets
from projects.oneformer.segment_ids import decode_ids

SKY, CAT, DOG, GRASS = range(4)
# 7 and 1 are two cats, 300 is a dog, 70000 and 5 are two parts of the sky,
# 2 is grass, 9 is a crowd of dogs, 0 is void; 8 is listed but not there.
IDS = np.array(
    [
        [70000, 70000, 5, 0],
        [7, 300, 1, 9],
        [7, 2, 2, 9],
    ]
)
SEGMENTS = [
    dict(id=2, category=GRASS, is_thing=False, iscrowd=False),
    dict(id=1, category=CAT, is_thing=True, iscrowd=False),
    dict(id=5, category=SKY, is_thing=False, iscrowd=False),
    dict(id=9, category=DOG, is_thing=True, iscrowd=True),
    dict(id=8, category=DOG, is_thing=True, iscrowd=False),
    dict(id=300, category=DOG, is_thing=True, iscrowd=False),
    dict(id=7, category=CAT, is_thing=True, iscrowd=False),
    dict(id=70000, category=SKY, is_thing=False, iscrowd=False),
]


def encode(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(
        np.uint8
    )


def targets_of(task: str, ids=IDS, segments=SEGMENTS) -> dict:
    results = dict(
        task=task,
        gt_seg_map=encode(ids),
        segments_info=segments,
        seg_fields=['gt_seg_map'],
    )
    return TaskTargets().transform(results)


def test_the_codes_of_this_test_are_those_of_the_loader():
    assert (decode_ids(encode(IDS)) == IDS).all()


def test_panoptic_has_a_mask_per_segment_in_the_order_of_the_annotation():
    results = targets_of('panoptic')
    labels = results['gt_bboxes_labels']
    assert labels.tolist() == [GRASS, CAT, SKY, DOG, CAT, SKY]
    assert labels.dtype == np.int64
    assert results['gt_masks'].masks.dtype == np.uint8
    assert results['gt_masks'].masks.tolist() == [
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]],
        [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]],
        [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]


def test_instance_has_the_things_only():
    results = targets_of('instance')
    assert results['gt_bboxes_labels'].tolist() == [CAT, DOG, CAT]
    assert results['gt_masks'].masks.tolist() == [
        [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]],
    ]


def test_semantic_has_a_mask_per_class_in_the_order_of_first_appearance():
    results = targets_of('semantic')
    assert results['gt_bboxes_labels'].tolist() == [GRASS, CAT, SKY, DOG]
    assert results['gt_masks'].masks.tolist() == [
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]],
        [[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]],
        [[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
    ]


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_crowd_void_and_unlisted_ids_are_background(task):
    ids = IDS.copy()
    ids[0, 3] = 123456
    masks = targets_of(task, ids)['gt_masks'].masks
    assert not masks[:, 0, 3].any()
    assert not masks[:, 1:, 3].any()


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
@pytest.mark.parametrize('segments', [SEGMENTS, SEGMENTS[3:5], []])
def test_nothing_left_gives_no_masks_of_the_size_of_the_image(task, segments):
    empty = np.zeros((5, 6), int)
    results = targets_of(task, empty, segments)
    assert results['gt_masks'].masks.shape == (0, 5, 6)
    assert (results['gt_masks'].height, results['gt_masks'].width) == (5, 6)
    assert results['gt_bboxes_labels'].shape == (0,)
    assert results['gt_bboxes_labels'].dtype == np.int64


def test_a_crowd_alone_gives_no_mask():
    ids = np.full((2, 2), 9)
    for task in ('panoptic', 'instance', 'semantic'):
        assert len(targets_of(task, ids)['gt_masks']) == 0


def test_the_coded_ids_are_used_up_and_the_annotation_is_not_changed():
    before = [dict(segment) for segment in SEGMENTS]
    results = targets_of('semantic')
    assert 'gt_seg_map' not in results
    assert results['seg_fields'] == []
    assert before == SEGMENTS


def test_many_segments_equal_a_comparison_one_by_one():
    # More than fit into 8 bits, on more pixels than segments.
    rng = np.random.default_rng(0)
    known = rng.choice(256**3 - 1, 400, replace=False) + 1
    ids = rng.choice(np.append(known[:390], 0), (40, 50))
    segments = [
        dict(
            id=int(number),
            category=int(rng.integers(30)),
            is_thing=bool(rng.integers(2)),
            iscrowd=bool(rng.random() < 0.1),
        )
        for number in known
    ]
    left = [s for s in segments if not s['iscrowd'] and (ids == s['id']).any()]
    results = targets_of('panoptic', ids, segments)
    assert len(left) > 256
    assert results['gt_masks'].masks.tolist() == [
        (ids == s['id']).tolist() for s in left
    ]
    labels = list(dict.fromkeys(s['category'] for s in left))
    results = targets_of('semantic', ids, segments)
    assert results['gt_bboxes_labels'].tolist() == labels
    assert results['gt_masks'].masks.tolist() == [
        np.isin(
            ids, [s['id'] for s in left if s['category'] == label]
        ).tolist()
        for label in labels
    ]


def test_masks_that_share_regions_overlap():
    # Region 2 belongs to both cats.
    segments = [
        dict(ids=[1, 2], category=CAT, is_thing=True, iscrowd=False),
        dict(ids=[2, 3], category=CAT, is_thing=True, iscrowd=False),
        dict(ids=[9], category=DOG, is_thing=True, iscrowd=False),
    ]
    ids = np.array([[1, 2, 3, 0]])
    results = targets_of('instance', ids, segments)
    assert results['gt_masks'].masks.tolist() == [
        [[1, 1, 0, 0]],
        [[0, 1, 1, 0]],
    ]
    assert results['gt_bboxes_labels'].tolist() == [CAT, CAT]
    # Cropped: what is left of the first lies in the second.
    results = targets_of('instance', ids[:, 1:], segments)
    assert results['gt_masks'].masks.tolist() == [[[1, 0, 0]], [[1, 1, 0]]]


def open_targets(task: str, **options) -> dict:
    return TaskTargets().transform(
        dict(
            task=task,
            gt_seg_map=encode(IDS),
            segments_info=SEGMENTS,
            seg_fields=['gt_seg_map'],
            classes=('sky', 'cat', 'dog', 'grass', 'cow', 'sea'),
            thing_classes=('cat', 'dog', 'cow'),
            **options,
        )
    )


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_void_and_crowds_are_marked_if_they_are_not_background(task):
    # Stuff is labelled, though it is no object of the instance task.
    results = open_targets(task, void='ignore')
    expected = np.zeros(IDS.shape, int)
    expected[0, 3] = expected[1:, 3] = 255
    assert results['gt_seg_map'].tolist() == expected.tolist()
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map']
    masks = open_targets(task)['gt_masks'].masks
    assert results['gt_masks'].masks.tolist() == masks.tolist()


def test_void_may_be_background():
    results = open_targets('panoptic', void='background')
    assert 'gt_seg_map' not in results
    assert results['seg_fields'] == []


@pytest.mark.parametrize(
    ('task', 'expected'),
    [('panoptic', (4, 5)), ('semantic', (4, 5)), ('instance', (4,))],
)
def test_only_things_can_be_open_in_the_instance_task(task, expected):
    results = open_targets(task, unlabelled_classes=(4, 5))
    assert results['unlabelled_classes'] == expected


def test_nothing_is_open_unless_the_dataset_says_so():
    assert 'unlabelled_classes' not in open_targets('instance')
    results = open_targets('instance', unlabelled_classes=())
    assert results['unlabelled_classes'] == ()
