"""Ids of every kind of annotation: masks that may overlap, label maps."""

import io
import os

import numpy as np
import pytest
from mmcv.transforms import Compose
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import (
    EvalTargets,
    LoadInstanceSegments,
    LoadPanopticSegments,
    LoadSegments,
    LoadSemanticSegments,
    TaskTargets,
)
from projects.oneformer.datasets.transforms.load_segments import overlay
from projects.oneformer.segment_ids import (
    decode_ids,
    encode_ids,
)

SIZE = (4, 6)
A = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0] * 6, [0] * 6])
B = np.array([[0] * 6, [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0] * 6])
# Lies in A altogether.
C = np.array([[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6, [0] * 6])


def rle_of(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(rle, counts=rle['counts'].decode())


def results_of(*masks, **options) -> dict:
    return dict(
        img_path='a.jpg',
        annotation='instance',
        height=SIZE[0],
        width=SIZE[1],
        classes=('cat', 'dog'),
        thing_classes=('cat', 'dog'),
        supervised_tasks=('instance',),
        segments_info=[
            dict(
                category=i % 2,
                is_thing=True,
                iscrowd=False,
                segmentation=mask if isinstance(mask, list) else rle_of(mask),
            )
            for i, mask in enumerate(masks)
        ],
        **options,
    )


def drawn(*masks) -> list[np.ndarray]:
    """Masks of the instance task, by way of the ids."""
    results = dict(results_of(*masks), task='instance')
    results = TaskTargets()(LoadSegments()(results))
    return [mask.astype(int).tolist() for mask in results['gt_masks'].masks]


# ------------------------------------------------------------------ instance


def test_masks_are_drawn_as_they_are(monkeypatch):
    assert drawn(A) == [A.tolist()]
    assert drawn(C, B) == [C.tolist(), B.tolist()]


def test_no_pixel_is_lost_where_masks_overlap():
    assert drawn(A, B, C) == [A.tolist(), B.tolist(), C.tolist()]
    assert drawn(C, A, B) == [C.tolist(), A.tolist(), B.tolist()]


def test_equal_masks_are_two_objects():
    assert drawn(A, A) == [A.tolist(), A.tolist()]


def test_many_overlapping_masks_come_back_as_they_were():
    rng = np.random.default_rng(0)
    masks = rng.random((12, *SIZE)) < 0.4
    assert drawn(*masks) == masks.astype(int).tolist()


def test_regions_are_numbered_without_gaps_in_the_ids_of_a_segment():
    results = LoadInstanceSegments()(results_of(A, B, C))
    ids = decode_ids(results['gt_seg_map'])
    for mask, segment in zip((A, B, C), results['segments_info'], strict=True):
        assert np.isin(ids, segment['ids']).astype(int).tolist() == (
            mask.tolist()
        )
        assert 'segmentation' not in segment
    assert (ids == 0).sum() == 24 - (A | B).sum()


def test_overlay_names_the_masks_of_each_region():
    numbers, members = overlay([A > 0, B > 0], SIZE)
    at = {who: numbers == n for n, who in members.items()}
    assert at[frozenset({0, 1})].sum() == 1
    assert at[frozenset({0})].sum() == 5
    assert at[frozenset({1})].sum() == 5
    assert len(members) == 3


def test_polygons_are_filled_and_joined():
    squares = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 2, 6, 2, 6, 4, 4, 4]]
    (mask,) = drawn(squares)
    assert mask == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]


def test_run_lengths_may_be_plain_numbers():
    results = results_of(A)
    # Down the columns: 0, then runs of ones and zeros.
    results['segments_info'][0]['segmentation'] = dict(
        size=list(SIZE), counts=[0, 2, 22]
    )
    results = TaskTargets()(
        LoadInstanceSegments()(dict(results, task='instance'))
    )
    mask = results['gt_masks'].masks[0]
    assert np.argwhere(mask).tolist() == [[0, 0], [1, 0]]


def test_an_image_without_objects_has_an_empty_map():
    results = LoadSegments()(results_of())
    assert results['gt_seg_map'].shape == SIZE
    assert not results['gt_seg_map'].any()
    assert results['segments_info'] == []
    assert results['seg_fields'] == ['gt_seg_map']


def test_an_object_of_one_pixel_is_kept():
    dot = np.zeros(SIZE, int)
    dot[2, 3] = 1
    assert drawn(A, dot) == [A.tolist(), dot.tolist()]


def test_an_object_without_pixels_makes_no_mask():
    assert drawn(np.zeros(SIZE, int), A) == [A.tolist()]


def test_a_crowd_makes_no_mask():
    results = dict(results_of(A, B), task='instance')
    results['segments_info'][0]['iscrowd'] = True
    masks = TaskTargets()(LoadSegments()(results))['gt_masks'].masks
    assert masks.astype(int).tolist() == [B.tolist()]


def test_transforms_of_a_label_map_keep_overlaps():
    steps = [
        LoadSegments(),
        dict(type='mmdet.RandomFlip', prob=1.0),
        dict(type='mmdet.RandomCrop', crop_size=(4, 4)),
        TaskTargets(),
    ]
    results = dict(
        results_of(A, B),
        task='instance',
        img=np.zeros((*SIZE, 3), np.uint8),
        img_shape=SIZE,
    )
    np.random.seed(0)
    results = Compose(steps)(results)
    flipped = np.stack([A[:, ::-1], B[:, ::-1]])
    windows = [flipped[..., i : i + 4].tolist() for i in range(3)]
    assert results['gt_masks'].masks.astype(int).tolist() in windows


@pytest.mark.parametrize(
    ('segmentation', 'text'),
    [
        ([[1, 2]], 'a polygon has 2 numbers'),
        (dict(size=[4, 6]), 'expected polygons'),
        (dict(size=[6, 4], counts=[3, 3, 18]), 'have the size [6, 4]'),
        (dict(size=[4, 6], counts=[3, 3]), 'do not add up'),
    ],
)
def test_a_mask_that_cannot_be_drawn_names_the_image(segmentation, text):
    results = results_of(A)
    results['segments_info'][0]['segmentation'] = segmentation
    with pytest.raises(ValueError) as caught:
        LoadInstanceSegments()(results)
    assert str(caught.value).startswith('a.jpg has an annotation that cannot')
    assert text in str(caught.value)


def test_an_image_of_another_size_is_refused_with_its_reason(tmp_path):
    results = results_of(A, ori_shape=SIZE[::-1])
    with pytest.raises(ValueError, match='mend height and width') as caught:
        LoadInstanceSegments()(dict(results))
    assert 'EXIF' not in str(caught.value)
    turned, exif = tmp_path / 'turned.jpg', Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', SIZE[::-1]).save(turned, exif=exif)
    with pytest.raises(ValueError, match='turned as its EXIF tag says'):
        LoadInstanceSegments()(dict(results, img_path=str(turned)))


def test_each_object_is_measured_by_all_of_its_regions():
    results = EvalTargets()(LoadSegments()(results_of(A, B, C)))
    assert 'segments_info' not in results
    assert 'gt_seg_map' not in results
    assert results['seg_fields'] == []
    instances = results['instances']
    for own, mask in zip(instances, (A, B, C), strict=True):
        decoded = coco_mask.decode(own['mask'])
        assert decoded.tolist() == mask.tolist()
        assert type(own['mask']['counts']) is str
    assert [own['bbox_label'] for own in instances] == [0, 1, 0]
    assert [own['bbox'] for own in instances] == [
        [0, 0, 3, 2],
        [2, 1, 5, 3],
        [1, 0, 2, 1],
    ]
    assert [own['ignore_flag'] for own in instances] == [0, 0, 0]


# ------------------------------------------------------------------ semantic

LABELS = np.array([[0, 0, 1], [255, 2, 1]], np.uint8)


def semantic_results(path, image, **options) -> dict:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path)
    width, height = image.size
    return dict(
        {
            'annotation': 'semantic',
            'img_path': 'a.jpg',
            'seg_map_path': str(path),
            'height': height,
            'width': width,
            'label_of_value': [1, None, 0],
            'ignore_index': 255,
            'things': [0],
            'classes': ('car', 'sky'),
            'thing_classes': ('car',),
            'supervised_tasks': ('semantic',),
            'void': 'ignore',
            'segments_info': [],
        },
        **options,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'a.png'


def test_every_class_that_a_png_shows_is_a_segment(path):
    results = LoadSegments()(semantic_results(path, LABELS))
    assert results['segments_info'] == [
        dict(id=1, category=1, is_thing=False, iscrowd=False, ids=[1]),
        dict(id=3, category=0, is_thing=True, iscrowd=False, ids=[2]),
    ]
    assert results['gt_seg_map'].tolist() == [[1, 1, 0], [0, 2, 0]]
    assert results['gt_seg_map'].dtype == np.uint8


def test_targets_have_255_where_nothing_is_labelled(path):
    results = dict(semantic_results(path, LABELS), task='semantic')
    results = TaskTargets()(LoadSegments()(results))
    assert results['gt_seg_map'].tolist() == [[0, 0, 255], [255, 0, 255]]
    assert results['seg_fields'] == ['gt_seg_map']
    assert results['gt_bboxes_labels'].tolist() == [1, 0]


def test_void_can_be_background(path):
    results = dict(
        semantic_results(path, LABELS, void='background'), task='semantic'
    )
    assert 'gt_seg_map' not in TaskTargets()(LoadSegments()(results))


def test_semantic_truth_has_labels_and_255(path):
    results = EvalTargets()(LoadSegments()(semantic_results(path, LABELS)))
    assert results['gt_seg_map'].tolist() == [[1, 1, 255], [255, 0, 255]]
    assert results['gt_seg_map'].dtype == np.uint8
    assert 'segments_info' not in results
    assert 'instances' not in results


def test_two_values_may_be_of_one_class(path):
    results = dict(
        semantic_results(path, LABELS, label_of_value=[0, 0, 1]),
        task='semantic',
    )
    results = TaskTargets()(LoadSegments()(results))
    assert results['gt_bboxes_labels'].tolist() == [0, 1]
    assert results['gt_masks'].masks[0].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_the_values_of_a_palette_are_its_indices(path):
    image = Image.fromarray(LABELS)
    image.putpalette([number for i in range(256) for number in (i, 9, 77)])
    results = LoadSegments()(semantic_results(path, image))
    assert [s['id'] for s in results['segments_info']] == [1, 3]


def test_values_may_have_16_bits(path):
    labels = LABELS.astype(np.uint16)
    labels[1, 0] = 65535
    results = semantic_results(path, labels, ignore_index=65535)
    results = LoadSegments()(results)
    assert [s['id'] for s in results['segments_info']] == [1, 3]


def test_a_png_of_one_bit_has_two_values(path):
    image = Image.fromarray(np.array([[True, False]]))
    results = semantic_results(path, image, label_of_value=[0, 1])
    results = LoadSegments()(results)
    assert results['gt_seg_map'].tolist() == [[2, 1]]


def test_a_png_without_a_labelled_pixel_has_no_segments(path):
    results = dict(
        semantic_results(path, np.full((2, 3), 255, np.uint8)),
        task='semantic',
    )
    results = TaskTargets()(LoadSegments()(results))
    assert len(results['gt_masks']) == 0
    assert (results['gt_seg_map'] == 255).all()


def test_a_value_that_is_no_class_is_named(path):
    results = semantic_results(path, LABELS, label_of_value=[0, 1])
    with pytest.raises(ValueError) as caught:
        LoadSegments()(results)
    assert f'{path} has the values [2]' in str(caught.value)
    assert '0 to 1, and 255 where nothing is labelled' in str(caught.value)
    assert 'png_classes, ignore_index and reduce_zero' in str(caught.value)


@pytest.mark.parametrize('form', ['PNG', 'JPEG'])
def test_a_map_that_was_a_jpeg_is_refused_with_the_reason(path, form):
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 40, (8, 12)).astype(np.uint8).repeat(9, 0)
    buffer = io.BytesIO()
    Image.fromarray(shapes.repeat(9, 1)).save(buffer, 'JPEG')
    results = semantic_results(
        path, Image.open(buffer), label_of_value=list(range(256))
    )
    if form == 'JPEG':
        path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r'a\.png .*JPEG.* the map that was'):
        LoadSegments()(results)


def test_a_pipe_in_place_of_a_label_map_is_refused(path):
    results = semantic_results(path, LABELS)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r'a\.png.* it is no file'):
        LoadSegments()(results)


def test_colours_are_refused(path):
    colours = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(ValueError) as caught:
        LoadSegments()(semantic_results(path, colours))
    assert 'one value per pixel, the label of its class' in str(caught.value)


@pytest.mark.parametrize('keep', [0, 8, 40, 60, 400])
def test_a_damaged_png_is_named(path, keep):
    noise = np.random.default_rng(0).integers(0, 3, (40, 60)).astype(np.uint8)
    results = semantic_results(path, noise)
    buffer = io.BytesIO(path.read_bytes())
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(ValueError, match=r'a\.png .*[Rr]estore the file'):
        LoadSegments()(results)


def test_a_missing_png_is_named_with_the_settings_to_check(path):
    results = semantic_results(path, LABELS)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='check data_root and data_pr'):
        LoadSemanticSegments()(results)


def test_a_label_map_of_another_size_than_the_image_is_refused(path):
    results = semantic_results(path, LABELS, ori_shape=(3, 2))
    with pytest.raises(ValueError, match=r'its annotation is \(2, 3\)'):
        LoadSegments()(results)


# --------------------------------------------------------------------- both


def panoptic_results(path, ids: np.ndarray) -> dict:
    """A panoptic annotation with a segment per id, and one more."""
    Image.fromarray(encode_ids(ids)).save(path)
    shown = sorted(set(ids.ravel().tolist()) - {0})
    segments = [
        dict(id=number, category=i % 3, is_thing=True, iscrowd=False)
        for i, number in enumerate([*shown, 256**3 - 1])
    ]
    return dict(
        annotation='panoptic',
        img_path='a.jpg',
        seg_map_path=str(path),
        height=ids.shape[0],
        width=ids.shape[1],
        segments_info=segments,
        task='panoptic',
    )


@pytest.mark.parametrize('count', [1, 253, 254, 300])
def test_ids_are_numbered_if_254_are_enough(path, count):
    rng = np.random.default_rng(0)
    known = rng.choice(256**3 - 2, count, replace=False) + 1
    ids = rng.permutation(np.resize(known, 600)).reshape(20, 30)
    before = panoptic_results(path, ids)
    results = LoadSegments()(dict(before))
    numbers = results['gt_seg_map']
    if count < 254:  # with the one that the PNG does not show
        assert numbers.shape == (20, 30)
        assert numbers.dtype == np.uint8
        assert [own['id'] for own in results['segments_info']] == [
            own['id'] for own in before['segments_info']
        ]
    else:
        assert (decode_ids(numbers) == ids).all()
        assert results['segments_info'] == before['segments_info']
    # One mask each, either way.
    masks = TaskTargets()(results)['gt_masks'].masks
    assert (masks == (ids == np.unique(ids)[:, None, None])).all()


def test_ids_of_no_segment_are_numbered_0(path):
    results = panoptic_results(path, np.array([[7, 300, 70000], [7, 9, 9]]))
    del results['segments_info'][1]
    results = LoadSegments()(results)
    assert results['gt_seg_map'].tolist() == [[1, 2, 3], [1, 0, 0]]
    assert [own['ids'] for own in results['segments_info']] == [
        *([1], [2], [3], [4])
    ]


def test_what_mmcv_pads_with_by_default_is_void(path):
    results = panoptic_results(path, np.array([[7, 300], [7, 7]]))
    results.update(img=np.zeros((2, 2, 3), np.uint8), void='ignore')
    pad = dict(type='mmcv.Pad', size=(3, 2))
    results = Compose([LoadSegments(), pad, TaskTargets()])(results)
    assert results['gt_masks'].masks.tolist() == [
        [[1, 0, 0], [1, 1, 0]],
        [[0, 1, 0], [0, 0, 0]],
    ]
    assert results['gt_seg_map'].tolist() == [[0, 0, 255], [0, 0, 255]]


@pytest.mark.parametrize('chosen', [[0, 1, 2, 3], [3, 1], [2]])
def test_numbers_of_one_channel_make_the_same_targets(chosen):
    masks = np.random.default_rng(1).random((4, *SIZE)) < 0.4
    results = results_of(*masks[chosen], void='ignore', task='instance')
    coded = TaskTargets()(LoadInstanceSegments()(dict(results)))
    numbered = TaskTargets()(LoadSegments()(dict(results)))
    assert (coded['gt_seg_map'] == numbered['gt_seg_map']).all()
    assert (coded['gt_masks'].masks == numbered['gt_masks'].masks).all()
    assert (numbered['gt_masks'].masks == masks[chosen]).all()


@pytest.mark.parametrize('channels', [1, 3])
def test_numbers_of_one_channel_are_evaluated_alike(path, channels):
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice([0, 7, 300, 70000], 600)).reshape(20, 30)
    results = panoptic_results(path, ids)
    results['classes'] = ('cat', 'dog', 'cow')
    load = LoadSegments() if channels == 1 else LoadPanopticSegments()
    results = EvalTargets()(load(results))
    assert [own['id'] for own in results['segments_info']] == [7, 300, 70000]
    for own in results['segments_info']:
        mask = coco_mask.decode(own['segmentation'])
        assert (mask == (ids == own['id'])).all()


def test_the_kind_of_annotation_chooses_the_loader():
    loaders = LoadSegments().loaders
    assert isinstance(loaders['panoptic'], LoadPanopticSegments)
    assert isinstance(loaders['instance'], LoadInstanceSegments)
    assert isinstance(loaders['semantic'], LoadSemanticSegments)
