"""Files of a result."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from projects.oneformer.results import SegmentationResult
from projects.oneformer.serve.downloads import Archive, write_files
from tests.serve.test_scaling import small_result


def named_result() -> SegmentationResult:
    return replace(small_result(), image_name='photo.jpg')


def test_a_result_is_written_in_every_format(tmp_path):
    files = write_files(named_result(), 0.5, tmp_path)
    assert sorted(path.name for path in files) == [
        'photo.json',
        'photo_instance.png',
        'photo_instances_coco.json',
        'photo_panoptic.png',
        'photo_panoptic_coco.zip',
        'photo_panoptic_ids.png',
        'photo_semantic.png',
        'photo_semantic_labels.png',
    ]
    assert all(path.is_file() for path in files)
    labels = np.asarray(Image.open(tmp_path / 'photo_semantic_labels.png'))
    assert np.array_equal(labels, named_result().semantic)


def test_a_task_without_result_has_no_file(tmp_path):
    result = replace(named_result(), panoptic=None, segments=None)
    names = [p.name for p in write_files(result, 0.5, tmp_path)]
    assert not any('panoptic' in name for name in names)


def test_the_archive_of_coco_panoptic_is_read_back_the_same(tmp_path):
    write_files(named_result(), 0.5, tmp_path)
    with zipfile.ZipFile(tmp_path / 'photo_panoptic_coco.zip') as archive:
        content = json.loads(archive.read('panoptic.json'))
        name = content['annotations'][0]['file_name']
        png = Image.open(io.BytesIO(archive.read(f'panoptic/{name}')))
    found = SegmentationResult.from_coco_panoptic(content, np.asarray(png))
    assert np.array_equal(found.panoptic, named_result().panoptic)
    assert [s.name for s in found.segments] == ['cat', 'sky']


def test_pycocotools_reads_the_instances(tmp_path):
    write_files(named_result(), 0.5, tmp_path)
    coco = COCO(tmp_path / 'photo_instances_coco.json')
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert coco.annToMask(annotation).sum() == 4


def test_the_opacity_is_that_of_the_drawings(tmp_path):
    plain, strong = tmp_path / 'plain', tmp_path / 'strong'
    for opacity, folder in ((0.0, plain), (1.0, strong)):
        folder.mkdir()
        write_files(named_result(), opacity, folder)
    first, second = (
        np.asarray(Image.open(folder / 'photo_semantic.png'))
        for folder in (plain, strong)
    )
    assert (first != second).any()


def test_an_archive_has_a_line_of_json_for_each_image(tmp_path):
    archive = Archive(tmp_path / 'all.zip')
    archive.add(named_result())
    archive.add(replace(named_result(), image_name='next.jpg'))
    archive.add_drawing('photo', np.zeros((2, 2, 3), np.uint8))
    archive.close()
    with zipfile.ZipFile(tmp_path / 'all.zip') as file:
        lines = file.read('segments.jsonl').decode().splitlines()
        assert 'photo.jpg' in file.namelist()
    assert [json.loads(x)['file'] for x in lines] == ['photo.jpg', 'next.jpg']
