"""Reading what a visitor uploads."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.images import (
    ImageError,
    ImageNotFoundError,
    ImageTooLargeError,
)
from projects.oneformer.serve.limits import Limits, read_upload

LIMITS = Limits(max_bytes=100_000, max_pixels=5000, max_side=40)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    pixels = np.zeros((20, 80, 3), np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(path)
    return path


def test_a_large_image_is_reduced_and_keeps_its_size_in_mind(photo):
    upload = read_upload(photo, LIMITS)
    assert upload.name == 'photo.png'
    assert upload.size == (20, 80)
    assert upload.pixels.shape == (10, 40, 3)
    assert upload.pixels[0, 0].tolist() == [200, 0, 0]  # RGB


def test_a_small_image_is_read_as_it_is(photo):
    upload = read_upload(photo, replace(LIMITS, max_side=80))
    assert upload.pixels.shape == (20, 80, 3)


@pytest.mark.parametrize(
    'limit, message',
    [
        (dict(max_pixels=1599), 'more than 0.001599 megapixels'),
        (dict(max_pixels=100), 'more than 0.0001 megapixels'),
        (dict(max_bytes=10), 'and this page accepts 1e-05: save it smaller'),
    ],
)
def test_what_is_too_large_is_refused_with_the_limit(photo, limit, message):
    with pytest.raises(ImageTooLargeError, match=message):
        read_upload(photo, replace(LIMITS, **limit))


def test_an_image_that_the_page_has_removed_is_to_be_chosen_again(tmp_path):
    with pytest.raises(ImageNotFoundError, match='^Image a.png is no longer'):
        read_upload(tmp_path / 'a.png', LIMITS)


@pytest.mark.parametrize('content', [b'', b'no image', b'\x89PNG\r\n\x1a\n'])
def test_errors_name_the_file_and_not_the_folder(tmp_path, content):
    path = tmp_path / 'holiday.png'
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r'^Image holiday\.png ') as raised:
        read_upload(path, LIMITS)
    assert str(tmp_path) not in str(raised.value)
