"""Brush masks of Label Studio become COCO instances."""

import importlib
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.dataset_converters.files import read_json

MASK = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)


@pytest.fixture
def data(tmp_path):
    """A folder with the image of task 12, and its export."""
    folder = tmp_path / 'data'
    folder.mkdir()
    Image.new('RGB', (3, 2)).save(folder / '1a2b-photo one.jpg')
    task = dict(id=12, data=dict(image='/data/upload/3/1a2b-photo%20one.jpg'))
    (folder / 'export.json').write_text(json.dumps([task]))
    return folder


@pytest.fixture
def convert(data, tmp_path):
    """A function that converts the folder and returns the JSON."""
    label_studio = importlib.import_module('label_studio')
    run = importlib.import_module('_common').Run(1, True)

    def call() -> dict:
        out = tmp_path / 'out'
        out.mkdir(exist_ok=True)
        label_studio.convert(data, out, run)
        return read_json(out / 'instances.json')

    return call


def brush(folder, name: str, mask: np.ndarray = MASK) -> None:
    Image.fromarray(mask).save(folder / name)


def test_each_mask_is_an_instance_of_its_label(data, convert):
    brush(data, 'task-12-annotation-5-by-1-tag-cell wall-0.png')
    brush(data, 'task-12-annotation-5-by-1-tag-x-ray-0.png', 255 - MASK)
    content = convert()
    assert content['images'] == [
        dict(id=12, file_name='1a2b-photo one.jpg', height=2, width=3)
    ]
    names = {c['id']: c['name'] for c in content['categories']}
    found = {
        names[a['category_id']]: coco_mask.decode(a['segmentation']).tolist()
        for a in content['annotations']
    }
    assert found == {
        'cell wall': [[0, 1, 1], [0, 0, 1]],
        'x-ray': [[1, 0, 0], [1, 1, 0]],
    }


def test_the_last_annotation_of_a_task_counts(data, convert):
    brush(data, 'task-12-annotation-5-by-1-tag-cell-0.png')
    brush(data, 'task-12-annotation-6-by-a@b.c-tag-cell-0.png', 255 - MASK)
    brush(data, 'task-12-annotation-6-by-a@b.c-tag-cell-1.png', 0 * MASK)
    (annotation,) = convert()['annotations']
    assert annotation['bbox'] == [0, 0, 2, 2]


def test_without_the_export_an_image_is_named_as_its_task(data, convert):
    brush(data, 'task-12-annotation-5-by-1-tag-cell-0.png')
    (data / 'export.json').unlink()
    with pytest.raises(FileNotFoundError, match='No image of task 12 is in'):
        convert()
    (data / '1a2b-photo one.jpg').rename(data / '12.jpg')
    assert convert()['images'][0]['file_name'] == '12.jpg'


def test_a_mask_of_another_size_is_refused(data, convert):
    brush(data, 'task-12-annotation-5-by-1-tag-cell-0.png', MASK[:1])
    with pytest.raises(ValueError, match=r'has shape \(1, 3\): expected'):
        convert()
