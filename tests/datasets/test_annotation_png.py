"""PNGs of annotations, in all ways to store them."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets.annotation_png import (
    decode_label_map,
    decode_png,
    has_stray_values,
)
from tests.png_files import png_of_rows

LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)


def stored(pixels, form='PNG', **options) -> bytes:
    image = pixels
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ('bits', 'row', 'values'),
    [
        (1, b'\x50', [0, 1, 0, 1]),
        (2, b'\x1b', [0, 1, 2, 3]),
        (4, b'\x01\x2f', [0, 1, 2, 15]),
        (8, b'\0\1\2\xff', [0, 1, 2, 255]),
        (16, b'\0\0\0\1\1\0\xff\xff', [0, 1, 256, 65535]),
    ],
)
def test_grey_values_are_those_that_are_stored(bits, row, values):
    png = decode_png(png_of_rows([row], 4, bits))
    assert (png.kind, png.bits) == ('grey', bits)
    assert png.is_label_map
    assert png.values.tolist() == [values]


def test_a_transparent_colour_changes_nothing():
    colours = np.stack([LABELS, LABELS + 9, LABELS * 0], -1)
    png = decode_png(stored(colours, transparency=(1, 10, 0)))
    assert png.kind == 'RGB'
    assert (png.values == colours).all()
    png = decode_png(stored(LABELS, transparency=1))
    assert png.kind == 'grey'
    assert (png.values == LABELS).all()
    image = Image.fromarray(LABELS)
    image.putpalette(list(range(12)))
    png = decode_png(stored(image, transparency=0))
    assert png.kind == 'palette'
    assert (png.values == LABELS).all()
    assert png.colors[0, 2].tolist() == [6, 7, 8]


def test_16_bits_per_channel_are_kept():
    deep = np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * 1000
    content = cv2.imencode('.png', deep[..., ::-1])[1].tobytes()
    png = decode_png(content)
    assert (png.kind, png.bits) == ('RGB', 16)
    assert (png.values == deep).all()


@pytest.mark.parametrize('form', ['BMP', 'TIFF', 'GIF'])
def test_label_maps_may_have_other_formats_that_keep_values(form):
    png = decode_label_map(stored(LABELS, form))
    assert png.is_label_map
    assert (png.values == LABELS).all()


@pytest.mark.parametrize('form', ['JPEG', 'WEBP'])
def test_formats_that_change_values_are_refused(form):
    with pytest.raises(ValueError, match=f'{form}, which changes the values'):
        decode_label_map(stored(LABELS, form))


@pytest.mark.parametrize('content', [b'', b'no image', stored(LABELS)[:50]])
def test_what_cannot_be_read_is_a_value_error(content):
    with pytest.raises(ValueError):
        decode_label_map(content)
    with pytest.raises(ValueError):
        decode_png(content)


def test_every_bit_that_is_flipped_is_noticed_or_changes_nothing():
    content = stored(LABELS)
    for place in range(33, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 4
        try:
            values = decode_png(bytes(damaged)).values
        except ValueError:
            continue
        assert (values == LABELS).all()


def scene() -> np.ndarray:
    """Shapes of 20 classes, thin ones among them."""
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 300), np.uint8)
    for _ in range(40):
        value = int(rng.integers(20))
        x, y = (int(rng.integers(side)) for side in (300, 200))
        cv2.circle(labels, (x, y), int(rng.integers(2, 40)), value, -1)
        cv2.line(labels, (x, y), (y, x), value, 1)
    return labels


def test_compression_and_smooth_scaling_are_recognised():
    labels = scene()
    assert not has_stray_values(labels)
    for quality in (50, 75, 95):
        content = stored(labels, 'JPEG', quality=quality)
        assert has_stray_values(np.asarray(Image.open(BytesIO(content))))
    half = Image.fromarray(labels).resize((150, 100), Image.BILINEAR)
    assert has_stray_values(np.asarray(half))


def test_nearest_neighbours_and_objects_of_a_pixel_are_no_traces():
    labels = scene()
    for size in ((150, 100), (75, 50), (600, 400)):
        image = Image.fromarray(labels).resize(size, Image.NEAREST)
        assert not has_stray_values(np.asarray(image))
    dots = np.zeros((200, 300), np.uint8)
    dots[::10, ::10] = np.arange(600).reshape(20, 30) % 7 + 1
    assert not has_stray_values(dots)


@pytest.mark.parametrize('shape', [(1, 1), (1, 500), (500, 1), (2, 2)])
def test_maps_of_any_size_can_be_looked_at(shape):
    assert not has_stray_values(np.zeros(shape, np.int32))
