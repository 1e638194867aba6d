"""Drawing: what changes in an image, what does not, and what is refused."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from projects.oneformer.drawing import class_colors
from projects.oneformer.visualization import (
    draw_result,
    ground_truth_sample,
    image_sheet,
)

META = dict(
    classes=('cat', 'dog', 'sky'),
    palette=[(255, 0, 0), (0, 255, 0), (0, 0, 255)],
)
SIDE = 600  # neither enlarged nor shrunk
GRAY = 90


@pytest.fixture
def image() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), GRAY, np.uint8)


@pytest.fixture
def id_map() -> np.ndarray:
    """Two cats (7 and 8), sky above (300) and void below (0)."""
    ids = np.zeros((SIDE, SIDE), int)
    ids[:200] = 300
    ids[250:400, 50:250] = 7
    ids[250:400, 350:550] = 8
    return ids


@pytest.fixture
def segments_info() -> list[dict]:
    return [
        dict(id=7, category=0, is_thing=True, iscrowd=0),
        dict(id=8, category=0, is_thing=True, iscrowd=0),
        dict(id=300, category=2, is_thing=False, iscrowd=0),
    ]


@pytest.fixture
def sample(id_map, segments_info) -> DetDataSample:
    return ground_truth_sample(id_map, segments_info, num_classes=3)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(-1)


@pytest.mark.parametrize(
    'task, drawn_ids',
    [
        ('panoptic', [7, 8, 300]),
        ('instance', [7, 8]),
        ('semantic', [7, 8, 300]),
    ],
)
def test_exactly_the_segments_of_the_task_are_drawn(
    image, sample, id_map, task, drawn_ids
):
    drawn = draw_result(image, sample, task, META)
    np.testing.assert_array_equal(
        changed(image, drawn), np.isin(id_map, drawn_ids)
    )


def test_the_image_itself_is_not_drawn_on(image, sample):
    draw_result(image, sample, 'panoptic', META)
    assert (image == GRAY).all()


def test_a_segment_is_the_mean_of_the_image_and_its_colour(image, sample):
    drawn = draw_result(image, sample, 'semantic', META)
    corner_of_sky = drawn[5, 5].astype(int)  # no label and no outline there
    np.testing.assert_allclose(
        corner_of_sky, (np.array([0, 0, 255]) + GRAY) // 2, atol=1
    )


def test_an_outline_is_lighter_than_its_segment(image, sample):
    drawn = draw_result(image, sample, 'panoptic', META)
    assert drawn[199, 5].sum() > drawn[100, 5].sum()
    # but there is none along the border of the image
    assert (drawn[0, 5] == drawn[100, 5]).all()


def test_two_things_of_a_class_have_two_colours_but_one_in_semantics(
    image, sample
):
    places = [(260, 60), (260, 540)]  # in either cat, off its label
    first, second = (
        draw_result(image, sample, 'panoptic', META)[p] for p in places
    )
    assert (first != second).any()
    first, second = (
        draw_result(image, sample, 'semantic', META)[p] for p in places
    )
    assert (first == second).all()


def test_a_label_is_written_into_its_segment(image, sample):
    drawn = draw_result(image, sample, 'instance', META)
    text = (drawn == 255).all(-1)  # white
    assert text[250:400, 50:250].sum() > 50
    assert text[250:400, 350:550].sum() > 50
    assert not text[:250].any()


def test_a_label_avoids_a_hole_in_its_segment(image):
    ids = np.ones((SIDE, SIDE), int)
    ids[100:500, 100:400] = 2  # around the centre of mass of segment 1
    segments = [dict(id=1, category=2, is_thing=False, iscrowd=0)]
    drawn = draw_result(
        image, ground_truth_sample(ids, segments, 3), 'semantic', META
    )
    assert not changed(image, drawn)[ids == 2].any()
    assert (drawn == 255).all(-1)[ids == 1].sum() > 50


def test_labels_grow_with_the_image():
    def white_pixels(side: int) -> int:
        ids = np.ones((side, side), int)
        segments = [dict(id=1, category=2, is_thing=False, iscrowd=0)]
        drawn = draw_result(
            np.zeros((side, side, 3), np.uint8),
            ground_truth_sample(ids, segments, 3),
            'panoptic',
            META,
        )
        return (drawn == 255).all(-1).sum()

    assert white_pixels(2000) > 2 * white_pixels(SIDE)


@pytest.mark.parametrize(
    'shape, drawn_shape',
    [((128, 128), (512, 512)), ((64, 40), (512, 320)), ((700, 9), (700, 9))],
)
def test_small_images_come_back_enlarged_by_a_whole_factor(shape, drawn_shape):
    image = np.zeros((*shape, 3), np.uint8)
    segments = [dict(id=1, category=1, is_thing=True, iscrowd=0)]
    sample = ground_truth_sample(np.ones(shape, int), segments, 3)
    for task in ('panoptic', 'instance', 'semantic'):
        drawn = draw_result(image, sample, task, META)
        assert drawn.shape == (*drawn_shape, 3)
        assert drawn.dtype == np.uint8


def test_instances_below_the_threshold_are_not_drawn(image, sample, id_map):
    sample.pred_instances.scores = torch.tensor([0.2, 0.6])
    drawn = draw_result(image, sample, 'instance', META, score_thr=0.5)
    np.testing.assert_array_equal(changed(image, drawn), id_map == 8)


def test_the_surest_of_overlapping_instances_lies_on_top(image):
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, :400] = True
    masks[1, 300:] = True
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        masks=masks,
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.8]),
    )
    red, green, _ = draw_result(image, sample, 'instance', META)[350, 5]
    assert red > green


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_an_empty_result_leaves_the_image_as_it_is(image, task):
    sample = ground_truth_sample(np.zeros((SIDE, SIDE), int), [], 3)
    np.testing.assert_array_equal(
        draw_result(image, sample, task, META), image
    )


def test_classes_without_a_name_are_void(image):
    sample = DetDataSample()
    sample.pred_sem_seg = PixelData(
        sem_seg=torch.full((1, SIDE, SIDE), 255, dtype=torch.uint8)
    )
    np.testing.assert_array_equal(
        draw_result(image, sample, 'semantic', META), image
    )


def test_an_instance_of_a_class_without_a_name_is_refused(image, sample):
    sample.pred_instances.labels[1] = 3
    with pytest.raises(ValueError, match='label 3.*names 3 classes'):
        draw_result(image, sample, 'instance', META)


def test_the_same_result_gives_the_same_image(image, sample):
    meta = dict(classes=META['classes'])  # colours are made up
    first, second = (
        draw_result(image, sample, 'panoptic', meta) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_made_up_colours_differ_and_given_ones_are_kept():
    colors = class_colors(150, palette=[(1, 2, 3)])
    assert colors.shape == (150, 3)
    assert len(np.unique(colors, axis=0)) == 150
    assert colors[0].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(colors[1:9], class_colors(9)[1:])


def test_an_unknown_task_is_refused(image, sample):
    with pytest.raises(ValueError, match="'depth'.*panoptic"):
        draw_result(image, sample, 'depth', META)


def test_a_sample_without_a_result_for_the_task_is_refused(image):
    with pytest.raises(ValueError, match='no pred_sem_seg.*semantic task'):
        draw_result(image, DetDataSample(), 'semantic', META)


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_a_result_of_another_size_is_refused(image, sample, task):
    with pytest.raises(ValueError, match=r'\(300, 600\)'):
        draw_result(image[:300], sample, task, META)


def test_ground_truth_tells_things_apart_and_marks_void(id_map, sample):
    panoptic = sample.pred_panoptic_seg.sem_seg[0].numpy()
    assert np.unique(panoptic[id_map == 0]).tolist() == [3]
    assert np.unique(panoptic[id_map == 300]).tolist() == [2]
    cats = [np.unique(panoptic[id_map == i]).tolist() for i in (7, 8)]
    assert cats == [[1000], [2000]]
    semantic = sample.pred_sem_seg.sem_seg[0].numpy()
    assert np.unique(semantic).tolist() == [0, 2, 3]


def test_ground_truth_has_a_mask_and_no_score_for_each_thing(id_map, sample):
    instances = sample.pred_instances
    assert instances.labels.tolist() == [0, 0]
    np.testing.assert_array_equal(instances.masks[1].numpy(), id_map == 8)
    assert 'scores' not in instances


def test_a_crowd_has_its_class_and_is_no_instance(id_map, segments_info):
    segments_info[0]['iscrowd'] = 1
    sample = ground_truth_sample(id_map, segments_info, num_classes=3)
    crowd = id_map == 7
    assert (sample.pred_panoptic_seg.sem_seg[0].numpy()[crowd] == 1000).all()
    assert (sample.pred_sem_seg.sem_seg[0].numpy()[crowd] == 0).all()
    assert len(sample.pred_instances) == 1


def test_a_sheet_has_a_column_for_each_header_and_cells_of_one_width():
    wide = np.zeros((50, 200, 3), np.uint8)
    tall = np.zeros((800, 400, 3), np.uint8)
    sheet = image_sheet([[wide, tall], [wide, wide]], ['a', 'b'], None, 240)
    gap = 10  # a 24th of the cell
    assert sheet.shape[1] == 3 * gap + 2 * 240
    black = (sheet[-gap - 1] == 0).all(-1)
    assert black.sum() == 2 * 240
    # 480 rows for the first row's tall image, 60 for the second row
    column = (sheet[:, gap + 240 + gap + 5] == 0).all(-1)
    assert column.sum() == 480 + 60
    assert (sheet[[0, -1]] == 255).all()


def test_headers_and_footer_are_written_on_white():
    white = np.full((100, 100, 3), 255, np.uint8)
    blank = image_sheet([[white]], [''])
    assert (blank == 255).all()
    assert (image_sheet([[white]], ['image']) < 255).any()
    with_footer = image_sheet([[white]], [''], 'a long remark ' * 20)
    assert with_footer.shape[0] > blank.shape[0]
    assert (with_footer[blank.shape[0] :] < 128).any()
    margins = with_footer[:, :16], with_footer[:, -16:]
    assert all((margin == 255).all() for margin in margins)


def test_a_row_without_an_image_for_each_header_is_refused():
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match='2 images.*got 1 in row 1'):
        image_sheet([[picture, picture], [picture]], ['a', 'b'])
