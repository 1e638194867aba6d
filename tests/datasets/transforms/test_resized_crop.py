"""A crop of a resized image equals the resized image, cropped."""

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets.transforms.resized_crop import (
    contiguous,
    resized_crop,
    resized_id_crop,
)


def check(picture: np.ndarray, size, offset, crop) -> None:
    """Compare with Pillow, the whole image resized and then cropped."""
    place = tuple(
        slice(start, start + length)
        for start, length in zip(offset, crop, strict=True)
    )
    image = Image.fromarray(np.ascontiguousarray(picture))
    for function, method in (
        (resized_crop, Image.Resampling.BILINEAR),
        (resized_id_crop, Image.Resampling.NEAREST),
    ):
        expected = np.asarray(image.resize(size[::-1], method))[place]
        found = function(picture, size, offset, crop)
        assert found.shape == expected.shape
        assert (found == expected).all(), (function, size, offset)


def places(size, crop) -> list[tuple[int, int]]:
    """The corners, and a place in between."""
    rows, columns = (
        (0, (side - length) // 2, side - length)
        for side, length in zip(size, crop, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


@pytest.mark.parametrize('channels', [(), (3,)])
@pytest.mark.parametrize('scale', [0.11, 0.5, 0.83, 1.0, 1.001, 1.37, 2, 3.3])
def test_pixels_are_those_of_the_whole_image(scale, channels):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (61, 83, *channels), np.uint8)
    size = round(61 * scale), round(83 * scale)
    for crop in (
        size,
        (size[0], 5),
        (5, size[1]),
        (1, 1),
        (size[0] // 2, size[1] // 3),
    ):
        for offset in places(size, crop):
            check(picture, size, offset, crop)


def test_one_axis_may_keep_its_size():
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for size in ((40, 47), (53, 30)):
        for offset in places(size, (20, 15)):
            check(picture, size, offset, (20, 15))


def test_any_place_in_any_size_is_right():
    rng = np.random.default_rng(0)
    for i in range(400):
        height, width, *size = rng.integers(1, 120, 4).tolist()
        if i % 2:  # keep the ratio
            scale = np.exp(rng.uniform(-1.5, 1.5))
            size = [max(round(s * scale), 1) for s in (height, width)]
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        crop = tuple(int(rng.integers(1, side + 1)) for side in size)
        offset = tuple(
            int(rng.integers(0, side - length + 1))
            for side, length in zip(size, crop, strict=True)
        )
        check(picture, tuple(size), offset, crop)


def test_real_images_are_cropped_as_they_are_resized(shared_data):
    folder = shared_data / 'ade20k_mini/ADEChallengeData2016/images/training'
    picture = np.asarray(Image.open(folder / 'ADE_train_00016869.jpg'))
    assert picture.shape == (512, 683, 3)
    # Sizes at which the box of Pillow's resize changes some pixels.
    for size in ((410, 547), (700, 934)):
        crop = 400, 512
        for offset in places(size, crop):
            check(picture, size, offset, crop)


def test_crops_can_be_written_to():
    picture = np.zeros((9, 8, 3), np.uint8)
    for size in ((5, 4), (18, 16)):
        crop = resized_crop(picture, size, (0, 0), (5, 4))
        crop[:] = 1


@pytest.mark.parametrize('channels', [(), (3,)])
def test_reversed_views_are_copied_as_they_look(channels):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (5, 7, *channels), np.uint8)
    views = [
        picture[::rows, ::columns]
        for rows in (1, -1)
        for columns in (1, -1, 2, -2)
    ]
    views += [picture[:, 2:5], picture[1:3], picture[:1, ::-1]]
    if channels:
        views += [view[..., ::-1] for view in views]
    for view in views:
        copied = contiguous(view)
        assert copied.flags.c_contiguous
        assert copied.shape == view.shape
        assert (copied == view).all()
