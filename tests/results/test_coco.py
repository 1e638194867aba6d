"""COCO's formats, read by pycocotools, hotcoco and our own reader."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from projects.oneformer.results import SegmentationResult


def test_a_panoptic_result_comes_back_from_json_and_png(result, tmp_path):
    content, png = result.to_coco_panoptic(image_id=42)
    path = tmp_path / content['annotations'][0]['file_name']
    Image.fromarray(png).save(path)
    content = json.loads(json.dumps(content))
    again = SegmentationResult.from_coco_panoptic(
        content, np.asarray(Image.open(path))
    )
    np.testing.assert_array_equal(again.panoptic, result.panoptic)
    assert [s.to_dict() for s in again.segments] == [
        s.to_dict() for s in result.segments
    ]
    for name in ('classes', 'thing_classes', 'category_ids', 'palette'):
        assert getattr(again, name) == getattr(result, name)
    assert again.image_name == 'photos/two cats.jpg'
    assert again.tasks == ('panoptic',)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda c: c.pop('annotations'),
            'list of annotations .* got NoneType',
        ),
        (
            lambda c: c['annotations'][0].pop('segments_info'),
            'annotations lacks segments_info: .* instances is another',
        ),
        (lambda c: c['categories'][1].pop('isthing'), 'lacks isthing'),
        (
            lambda c: c['annotations'][0]['segments_info'][0].update(
                category_id=99
            ),
            r'category_id \[99\], which categories of the JSON lack',
        ),
        (
            lambda c: c['annotations'][0]['segments_info'][1].update(
                iscrowd='no'
            ),
            "Segment 2 has iscrowd 'no': expected 0 or 1",
        ),
    ],
    ids=['annotations', 'segments_info', 'isthing', 'category_id', 'iscrowd'],
)
def test_json_of_another_format_is_refused(result, change, message):
    content, png = result.to_coco_panoptic()
    change(content)
    with pytest.raises(ValueError, match=message):
        SegmentationResult.from_coco_panoptic(content, png)


def test_a_crowd_of_an_annotation_stays_one(result):
    content, png = result.to_coco_panoptic()
    infos = content['annotations'][0]['segments_info']
    infos[1]['iscrowd'] = 1
    del infos[2]['iscrowd']
    found = SegmentationResult.from_coco_panoptic(content, png)
    assert [s.is_crowd for s in found.segments] == [False, True, False]
    again, _ = found.to_coco_panoptic()
    infos = again['annotations'][0]['segments_info']
    assert [info['iscrowd'] for info in infos] == [0, 1, 0]


def test_colours_of_some_classes_do_not_go_to_others(result):
    content, png = result.to_coco_panoptic()
    del content['categories'][0]['color']
    found = SegmentationResult.from_coco_panoptic(content, png)
    assert found.palette == ()


def test_a_panoptic_result_has_the_ids_of_the_data_set(result):
    content, png = result.to_coco_panoptic(image_id=42)
    (annotation,) = content['annotations']
    assert annotation['image_id'] == content['images'][0]['id'] == 42
    infos = annotation['segments_info']
    assert [info['category_id'] for info in infos] == [187, 17, 17]
    assert infos[0] == dict(
        id=1,
        category_id=187,
        area=16,
        bbox=[0, 0, 8, 2],
        iscrowd=0,
        score=0.95,
    )
    assert content['categories'][0] == dict(
        id=17, name='cat', isthing=1, color=[220, 20, 60]
    )
    assert png[0, 0].tolist() == [1, 0, 0] and not png[5].any()
    plain, _ = replace(result, category_ids=None).to_coco_panoptic()
    infos = plain['annotations'][0]['segments_info']
    assert [info['category_id'] for info in infos] == [2, 0, 0]


def test_an_image_is_chosen_among_several(result):
    content, png = result.to_coco_panoptic(image_id=1)
    other, _ = replace(result, image_name='b.jpg').to_coco_panoptic(2)
    for key in ('images', 'annotations'):
        content[key] += other[key]
    found = SegmentationResult.from_coco_panoptic(content, png, image_id=2)
    assert found.image_name == 'b.jpg'
    with pytest.raises(ValueError, match='image None, got 2'):
        SegmentationResult.from_coco_panoptic(content, png)
    with pytest.raises(ValueError, match='image 3, got 0'):
        SegmentationResult.from_coco_panoptic(content, png, image_id=3)


def test_a_png_of_another_annotation_is_refused(result):
    content, png = result.to_coco_panoptic()
    png[5, 0] = [9, 0, 0]
    with pytest.raises(ValueError, match=r'ids \[9\] that the annotation'):
        SegmentationResult.from_coco_panoptic(content, png)


def test_hotcoco_gives_a_result_full_marks_against_itself(result, tmp_path):
    hotcoco = pytest.importorskip('hotcoco.panoptic')
    content, png = result.to_coco_panoptic()
    Image.fromarray(png).save(tmp_path / 'two cats.png')
    path = tmp_path / 'panoptic.json'
    path.write_text(json.dumps(content))
    found = hotcoco.pq_compute(*[str(path)] * 2, *[str(tmp_path)] * 2)
    for part, number in (('All', 2), ('Things', 1), ('Stuff', 1)):
        assert found[part]['pq'] == pytest.approx(1)
        assert found[part]['n'] == number


def test_pycocotools_reads_the_instances(result, tmp_path):
    content = result.to_coco_instances(image_id=7)
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(content))
    coco = COCO(path)
    assert [own['name'] for own in coco.loadCats(coco.getCatIds())] == ['cat']
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[7], catIds=[17]))
    assert [own['score'] for own in annotations] == [0.9, 0.6, 0.2]
    for own, instance in zip(annotations, result.instances, strict=True):
        assert np.array_equal(coco.annToMask(own), instance.mask)
        assert own['bbox'] == list(instance.bbox)
    assert len(coco.loadRes(content['annotations']).anns) == 3
