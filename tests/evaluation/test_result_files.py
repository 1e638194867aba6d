"""Files that are whole or not there."""

import json

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.evaluation import result_files


def test_an_image_is_named_after_its_file():
    sample = dict(img_path='data/val/frankfurt_1.2_leftImg8bit.png')
    name = result_files.image_name(sample)
    assert name == 'frankfurt_1.2_leftImg8bit'


def test_only_names_that_several_images_have_get_an_id():
    meta = dict(repeated_names=('x',))
    for path, number, name in (
        ('a/y.jpg', 3, 'y'),
        ('a/x.jpg', 4, 'x_4'),
        ('b/X.jpg', 'b/X', 'X_b_X'),
    ):
        sample = dict(img_path=path, img_id=number)
        assert result_files.result_name(sample, meta) == name
    assert result_files.result_name(dict(img_path='a/x.jpg'), {}) == 'x'


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / 'new/folder/a.json'
    result_files.write_json(str(path), [1, dict(a=2.5)])
    assert json.loads(path.read_text()) == [1, dict(a=2.5)]
    assert [own.name for own in path.parent.iterdir()] == ['a.json']


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / 'a.json'
    result_files.write_file(str(path), b'old')
    with pytest.raises(TypeError):
        result_files.write_file(str(path), 'no bytes')
    assert path.read_bytes() == b'old'
    assert [own.name for own in tmp_path.iterdir()] == ['a.json']


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, bool])
def test_a_map_comes_back_as_it_was(tmp_path, kind):
    pixels = np.array([[0, 1, 2], [3, 0, 250]]).astype(kind)
    result_files.write_png(str(tmp_path / 'a.png'), pixels)
    image = Image.open(tmp_path / 'a.png')
    assert image.mode == {bool: '1', np.uint8: 'L'}.get(kind, 'I;16')
    assert (np.array(image) == pixels).all()


def test_colours_come_back_in_their_order(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    result_files.write_png(str(tmp_path / 'a.png'), pixels)
    assert (np.array(Image.open(tmp_path / 'a.png')) == pixels).all()
