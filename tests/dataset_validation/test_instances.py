"""COCO instance sets: every violation of an object."""

import json
from pathlib import Path

import pytest
from dataset_validation import check_sets, find_sets, write_fixed
from PIL import Image

from tests.dataset_validation.tiny_sets import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    files_of,
    kinds,
)


class Objects:
    """One image with two objects, as COCO instances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.annotations = [
            self.square(1, 3, 2, 1, 6),
            self.square(2, 5, 10, 3, 6),
        ]

    def square(self, number, category, x, y, side):
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        return dict(
            id=number,
            image_id=8,
            category_id=category,
            segmentation=[corners],
            area=side * side,
            bbox=[x, y, side, side],
            iscrowd=0,
        )

    def save(self):
        (self.folder / 'photos').mkdir(parents=True, exist_ok=True)
        picture = Image.new('RGB', (WIDTH, HEIGHT), 'green')
        picture.save(self.folder / 'photos' / 'a.jpg')
        image = dict(id=8, file_name='a.jpg', height=HEIGHT, width=WIDTH)
        content = dict(
            images=[image],
            annotations=self.annotations,
            categories=CATEGORIES[:2],
        )
        (self.folder / 'labels.json').write_text(json.dumps(content))
        return find_sets(self.folder)


@pytest.fixture
def objects(tmp_path):
    return Objects(tmp_path / 'objects')


def test_clean_instances_have_no_findings(objects):
    (found,) = objects.save()
    assert (found.kind, found.image_dir.name) == ('instance', 'photos')
    assert check_sets([found]).findings == []


RUNS = dict(size=[HEIGHT, WIDTH], counts=[100, 30, HEIGHT * WIDTH - 130])
OBJECT_CHANGES = [
    (dict(category_id=77), 'unknown-category', False),
    (dict(image_id=99), 'unknown-image', True),
    (dict(id=1), 'duplicate-annotation-id', True),
    (dict(iscrowd=2), 'iscrowd', False),
    (dict(iscrowd=1), 'crowd-polygon', False),
    (dict(segmentation=[]), 'mask-invalid', False),
    (dict(segmentation='abc'), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, 5, 1e9]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, None, 6]]), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, size=[9, 9])), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, counts=[5])), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, counts='@@')), 'mask-invalid', False),
    (
        dict(segmentation=dict(RUNS, counts=[HEIGHT * WIDTH])),
        'mask-empty',
        True,
    ),
    (
        dict(segmentation=[[10, 3, 35, 3, 35, 9, 10, 9]]),
        'mask-outside',
        False,
    ),
    (dict(area=500), 'area', True),
    (dict(bbox=[10, 3, 16, 9]), 'bbox', True),
    (dict(segmentation=[[5, 1, 11, 1, 11, 7, 5, 7]]), 'overlap', False),
]


@pytest.mark.parametrize('change, kind, mends', OBJECT_CHANGES)
def test_a_violation_of_an_object_is_found(
    objects, tmp_path, change, kind, mends
):
    objects.annotations[1].update(change)
    sets = objects.save()
    before = files_of(objects.folder)
    found = [f for f in check_sets(sets).findings if f.kind == kind]
    numbers = {'unknown-image': 99, 'duplicate-annotation-id': 1}
    assert [f.id for f in found] == [numbers.get(kind, 2)]
    assert found[0].file.endswith('labels.json')
    moved, _ = write_fixed(sets, tmp_path / 'copy', objects.folder)
    assert (kind not in kinds(check_sets(moved))) == mends
    assert files_of(objects.folder) == before


def test_an_object_annotated_twice_is_found(objects):
    objects.annotations[1] = dict(objects.annotations[0], id=2)
    report = check_sets(objects.save())
    found = [(f.kind, f.id) for f in report.findings if f.level == 'warning']
    assert found == [('duplicate-mask', 2)]


def test_objects_that_only_touch_do_not_overlap(objects):
    objects.annotations[1] = objects.square(2, 5, 8, 1, 6)
    assert check_sets(objects.save()).findings == []


@pytest.mark.parametrize(
    ('value', 'level'),
    [
        (37, None),
        (900, 'warning'),
        ('36', 'error'),
        (float('nan'), 'error'),
        (10**40, 'error'),
        ([], 'error'),
    ],
)
def test_an_area_has_to_be_a_number_as_evaluation_reads_it(
    objects, value, level
):
    objects.annotations[0]['area'] = value
    levels = [f.level for f in check_sets(objects.save()).findings]
    assert levels == [level] * (level is not None)


@pytest.mark.parametrize(
    ('value', 'level'),
    [
        ([2, 1, 6, 7], None),
        ([9, 9, 9, 9], 'warning'),
        ([2, 1, 6], 'error'),
        ([2, 1, 6, None], 'error'),
        ([2, 1, 6, 10**400], 'error'),
        ('2 1 6 6', 'error'),
    ],
)
def test_a_box_has_to_be_four_numbers_as_evaluation_reads_it(
    objects, value, level
):
    objects.annotations[0]['bbox'] = value
    levels = [f.level for f in check_sets(objects.save()).findings]
    assert levels == [level] * (level is not None)


def test_a_thing_with_one_object_in_each_of_many_images_may_be_stuff(objects):
    square = objects.annotations[0]
    (found,) = objects.save()
    content = json.loads(found.ann_file.read_text())
    content['images'] = [
        dict(content['images'][0], id=i, file_name=f'{i}.jpg')
        for i in range(20)
    ]
    content['annotations'] = [
        dict(square, id=i, image_id=i) for i in range(20)
    ]
    found.ann_file.write_text(json.dumps(content))
    findings = check_sets([found]).findings
    assert [f.id for f in findings if f.kind == 'thing-or-stuff'] == [3]
    content['annotations'].append(dict(square, id=20, image_id=0))
    found.ann_file.write_text(json.dumps(content))
    assert 'thing-or-stuff' not in kinds(check_sets([found]))
