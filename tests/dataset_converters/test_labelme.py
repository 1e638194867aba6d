"""Shapes of LabelMe become COCO instances."""

import base64
import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.dataset_converters.files import read_json

SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]  # 2 x 2 pixels


@pytest.fixture
def convert(tmp_path):
    """A function that converts shapes, each a dict, and returns the JSON."""
    labelme = importlib.import_module('labelme')
    run = importlib.import_module('_common').Run(1, True)

    def call(*shapes: dict, name: str = 'a.png') -> dict:
        folder, out = tmp_path / 'data', tmp_path / 'out'
        folder.mkdir()
        out.mkdir()
        Image.new('RGB', (8, 6)).save(folder / 'a.png')
        (folder / 'a.json').write_text(
            json.dumps(dict(shapes=shapes, imagePath=name))
        )
        labelme.convert(folder, out, run)
        return read_json(out / 'instances.json')

    return call


def masks(content: dict) -> list[np.ndarray]:
    return [
        coco_mask.decode(a['segmentation']) for a in content['annotations']
    ]


def test_a_polygon_becomes_an_instance(convert):
    content = convert(dict(label='cell', points=SQUARE, shape_type='polygon'))
    assert content['images'] == [
        dict(id=1, file_name='a.png', height=6, width=8)
    ]
    assert content['categories'] == [dict(id=1, name='cell')]
    (annotation,) = content['annotations']
    assert (annotation['area'], annotation['bbox']) == (4, [1, 1, 2, 2])


def test_shapes_of_one_group_are_one_object(convert):
    corner = [[5, 4], [7, 4], [7, 6], [5, 6]]
    content = convert(
        dict(label='cell', points=SQUARE, group_id=3),
        dict(label='cell', points=corner, group_id=3),
        dict(label='cell', points=corner, group_id=None),
        dict(label='wall', points=corner, group_id=3),
    )
    areas = [a['area'] for a in content['annotations']]
    assert areas == [8, 4, 4]
    assert [a['category_id'] for a in content['annotations']] == [1, 1, 2]


def test_rectangles_circles_and_bitmaps_are_drawn(convert):
    png = io.BytesIO()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).save(
        png, 'PNG'
    )
    content = convert(
        dict(label='a', points=[[0, 0], [4, 2]], shape_type='rectangle'),
        dict(label='a', points=[[4, 3], [6, 3]], shape_type='circle'),
        dict(
            label='a',
            points=[[2, 1], [4, 3]],
            shape_type='mask',
            mask=base64.b64encode(png.getvalue()).decode(),
        ),
    )
    rectangle, circle, bitmap = masks(content)
    assert rectangle.sum() == 8
    # Of radius 2: 12.6 pixels, whose middle nearly all lie inside.
    assert 10 <= circle.sum() <= 16
    assert np.argwhere(bitmap).tolist() == [[1, 2], [2, 2], [2, 3]]


def test_what_has_no_area_is_left_out_with_a_count(convert, capsys):
    content = convert(
        dict(label='a', points=[[1, 1]], shape_type='point'),
        dict(label='a', points=SQUARE),
    )
    assert len(content['annotations']) == 1
    assert '1 shapes of type point have no area' in capsys.readouterr().out


def test_a_path_of_windows_finds_the_image(convert):
    content = convert(dict(label='a', points=SQUARE), name='..\\images\\a.png')
    assert content['images'][0]['file_name'] == 'a.png'


def test_a_missing_image_is_named(convert):
    with pytest.raises(FileNotFoundError, match="names the image 'b.png'"):
        convert(dict(label='a', points=SQUARE), name='b.png')


@pytest.mark.parametrize(
    'shape',
    [
        dict(label='a', points=[[1, 1], [2, 2]], shape_type='polygon'),
        dict(label='a', points=SQUARE, shape_type='spline'),
        dict(label='a', points=[[0, 0]], shape_type='mask', mask='?'),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named(convert, shape):
    with pytest.raises(ValueError, match="a.json has a shape 'a' of type"):
        convert(shape)


def test_the_command_writes_the_file(tmp_path, monkeypatch):
    labelme = importlib.import_module('labelme')
    data = Path(tmp_path, 'data')
    data.mkdir()
    Image.new('RGB', (8, 6)).save(data / 'a.png')
    shapes = [dict(label='a', points=SQUARE)]
    (data / 'a.json').write_text(
        json.dumps(dict(shapes=shapes, imagePath='a.png'))
    )
    monkeypatch.setattr(
        'sys.argv', ['labelme.py', str(data), str(tmp_path / 'out')]
    )
    labelme.main()
    assert (tmp_path / 'out/instances.json').is_file()
