"""Files that are whole or not there."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from projects.oneformer import file_writing


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / 'new/folder/a.json'
    file_writing.write_json(str(path), [1, dict(a=2.5)])
    assert json.loads(path.read_text()) == [1, dict(a=2.5)]
    assert [own.name for own in path.parent.iterdir()] == ['a.json']


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / 'a.json'
    file_writing.write_file(str(path), b'old')
    with pytest.raises(TypeError):
        file_writing.write_file(str(path), 'no bytes')
    assert path.read_bytes() == b'old'
    assert [own.name for own in tmp_path.iterdir()] == ['a.json']


def test_two_threads_that_write_one_file_leave_that_of_one(tmp_path):
    path = tmp_path / 'a.bin'
    contents = [bytes([number]) * 200_000 for number in range(2)]

    def write(content: bytes) -> None:
        for _ in range(100):
            file_writing.write_file(str(path), content)

    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(write, contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_where_a_link_leads(tmp_path):
    (tmp_path / 'disk' / 'folder').mkdir(parents=True)
    (tmp_path / 'disk' / 'folder' / 'old').touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'disk' / 'folder')
    with file_writing.new_folder(tmp_path / 'link') as partial:
        (partial / 'new').touch()
    assert (tmp_path / 'link').is_symlink()
    found = sorted(tmp_path.rglob('*'))
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        *('disk', 'disk/folder', 'disk/folder/new', 'link'),
    ]


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, bool])
def test_a_map_comes_back_as_it_was(tmp_path, kind):
    pixels = np.array([[0, 1, 2], [3, 0, 250]]).astype(kind)
    file_writing.write_png(str(tmp_path / 'a.png'), pixels)
    image = Image.open(tmp_path / 'a.png')
    assert image.mode == {bool: '1', np.uint8: 'L'}.get(kind, 'I;16')
    assert (np.array(image) == pixels).all()


def test_colours_come_back_in_their_order(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    file_writing.write_png(str(tmp_path / 'a.png'), pixels)
    assert (np.array(Image.open(tmp_path / 'a.png')) == pixels).all()
