"""Images become 8 bits of BGR by stated rules, or an error names them."""

import io
import os
import pickle
import struct
import warnings

import mmcv
import numpy as np
import pytest
import tifffile
from PIL import Image

from projects.oneformer import images
from projects.oneformer.images import (
    ImageError,
    ImageNotFoundError,
    convert_image,
    decode_image,
    inspect_image,
    read_image,
)
from tests.png_files import chunk, png_of_rows, png_with_a_broken_chunk

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch):
    monkeypatch.setattr(images, '_reported', set())


def saved(image, file_format='PNG', **options) -> bytes:
    """Return a Pillow image or an array as a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def deep_png(pixels: np.ndarray, color_type: int, extra: bytes = b'') -> bytes:
    """Return a PNG of 16 bits per channel, which Pillow does not write."""
    rows = [row.astype('>u2').tobytes() for row in pixels]
    return png_of_rows(rows, pixels.shape[1], 16, color_type, extra)


def palette(transparent: bool) -> bytes:
    image = Image.fromarray(NOISE).quantize(8)
    return saved(image, **(dict(transparency=2) if transparent else {}))


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(NOISE, 'JPEG', exif=exif)


ALPHA = NOISE[..., 0]
EIGHT_BITS = {
    'RGB JPEG': saved(NOISE, 'JPEG'),
    'RGB PNG': saved(NOISE),
    'RGB TIFF': saved(NOISE, 'TIFF'),
    'BMP': saved(NOISE, 'BMP'),
    'WEBP': saved(NOISE, 'WEBP'),
    'grey': saved(ALPHA),
    'grey JPEG': saved(ALPHA, 'JPEG'),
    'grey, alpha': saved(NOISE[..., :2]),
    'RGBA': saved(np.dstack([NOISE, ALPHA])),
    'palette': palette(False),
    'palette, transparent': palette(True),
    '1 bit': saved(Image.fromarray(ALPHA > 99)),
    'CMYK': saved(Image.fromarray(NOISE).convert('CMYK'), 'JPEG'),
    'CMYK TIFF': saved(Image.fromarray(NOISE).convert('CMYK'), 'TIFF'),
    'GIF': saved(Image.fromarray(NOISE).quantize(8), 'GIF'),
    **{f'orientation {n}': oriented(n) for n in range(1, 10)},
}


@pytest.mark.parametrize('kind', EIGHT_BITS)
def test_8_bits_are_read_as_mmcv_reads_them_with_pillow(kind):
    content = EIGHT_BITS[kind]
    found = decode_image(content, 'a')
    expected = mmcv.imfrombytes(content, backend='pillow')
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_alpha_is_dropped_of_colours_and_grey_lies_on_a_canvas():
    transparent = np.array([[[10, 20, 30, 0]]], np.uint8)
    found = decode_image(saved(transparent), 'a')
    assert found.tolist() == [[[30, 20, 10]]]
    grey = np.array([[[50, 0], [50, 255]]], np.uint8)
    found = decode_image(saved(grey), 'a')
    assert found.tolist() == [[[104, 117, 124], [50, 50, 50]]]


# v / 257, to the nearest: 128 / 257 is below a half, 129 / 257 above.
DEEP = np.array([[0, 128, 129, 257, 300, 65407, 65535]], np.uint16)
SCALED = [0, 0, 1, 1, 1, 255, 255]


@pytest.mark.parametrize(
    'content',
    [
        saved(DEEP),
        saved(DEEP, 'TIFF'),
        tiff(DEEP, byteorder='>'),
        b'P5 7 1 65535\n' + DEEP.astype('>u2').tobytes(),
    ],
    ids=['PNG', 'TIFF', 'big-endian TIFF', 'PGM'],
)
def test_grey_of_16_bits_is_scaled_and_not_clipped(content):
    found = decode_image(content, 'a')
    assert found.shape == (1, 7, 3)
    for channel in range(3):
        assert found[0, :, channel].tolist() == SCALED


COLORS = np.stack([DEEP, DEEP[:, ::-1], DEEP * 0], axis=-1)  # RGB


@pytest.mark.parametrize(
    'content',
    [
        deep_png(COLORS, 2),
        deep_png(np.dstack([COLORS, DEEP]), 6),
        tiff(COLORS, photometric='rgb'),
        tiff(COLORS, photometric='rgb', compression='zlib'),
    ],
    ids=['PNG', 'PNG with alpha', 'TIFF', 'compressed TIFF'],
)
def test_colours_of_16_bits_are_scaled_by_the_same_rule(content):
    found = decode_image(content, 'a')
    assert found[0, :, 2].tolist() == SCALED
    assert found[0, :, 1].tolist() == SCALED[::-1]
    assert not found[..., 0].any()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('file_format', ['PNG', 'TIFF'])
def test_16_bits_are_turned_as_8_bits_are(orientation, file_format):
    """With values times 257, which scale to the values themselves."""
    deep = NOISE.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = orientation
    if file_format == 'PNG':
        shallow = saved(NOISE, exif=exif)
        extra = chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))
        content = deep_png(deep, 2, extra)
    else:
        shallow = saved(NOISE, 'TIFF', exif=exif)
        tag = (0x0112, 'H', 1, orientation, True)
        content = tiff(deep, photometric='rgb', extratags=[tag])
    expected = mmcv.imfrombytes(shallow, backend='pillow')
    assert np.array_equal(decode_image(content, 'a'), expected)


def test_12_bits_are_scaled_by_their_full_range():
    """A TIFF by hand: 2048 / 4095 is 127.5 of 255, and 4095 white."""
    data = bytes([0x80, 0x0F, 0xFF])
    tags = [
        *((256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1)),
        *((273, 4, 122), (277, 3, 1), (278, 3, 1), (279, 4, 3)),
    ]
    entries = b''.join(struct.pack('<HHII', t, k, 1, v) for t, k, v in tags)
    head = b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4)
    assert len(head) == 122
    found = decode_image(head + data, 'a')
    assert found[0, :, 0].tolist() == [128, 255]


def test_floats_from_0_to_1_are_scaled():
    """0.5 * 255 is 127.5, which is rounded up."""
    values = np.array([[0, 0.25, 0.5, 1]], np.float32)
    found = decode_image(tiff(values), 'a')
    assert found[0, :, 1].tolist() == [0, 64, 128, 255]


REFUSED = {
    'floats to 2': (tiff(np.array([[0, 2]], np.float32)), 'floats from 0 to'),
    'negative': (tiff(np.array([[-1, 1]], np.float32)), 'floats from -1'),
    'NaN': (tiff(np.array([[np.nan, 1]], np.float32)), 'floats from nan'),
    'signed': (tiff(np.array([[3, 7]], np.int16)), 'from 3 to 7'),
    '32 bits': (tiff(np.array([[3, 7]], np.int32)), 'from 3 to 7'),
    'empty': (b'', 'the file is empty'),
    'text': (b'no image at all', "begins with b'no image'"),
    'cut JPEG': (saved(NOISE, 'JPEG')[:-40], 'truncated'),
    'cut PNG': (saved(NOISE)[:-80], 'Restore the file'),
    'broken chunk': (png_with_a_broken_chunk(NOISE), 'broken PNG file'),
    'cut 16 bits': (deep_png(COLORS, 2)[:-40], 'Restore the file'),
    'EXIF': (saved(NOISE, exif=b'Exif\0\0nonsense'), 'EXIF data is damaged'),
    'EPS': (saved(NOISE, 'EPS'), 'known format'),
    'large': (saved(Image.new('1', (14000, 14000))), '14000 x 14000'),
    'larger': (saved(Image.new('1', (19000, 19000))), 'more than 357913940'),
}


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('kind', REFUSED)
def test_what_cannot_be_read_is_named_with_the_reason(kind, tmp_path):
    content, reason = REFUSED[kind]
    path = tmp_path / 'odd.png'
    path.write_bytes(content)
    for read in (read_image, inspect_image):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert str(caught.value).startswith(f'Image {path} cannot be read: ')
        assert reason in str(caught.value)


@pytest.mark.parametrize('kind', EIGHT_BITS)
def test_what_is_read_passes_the_inspection_with_its_size(kind, tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(EIGHT_BITS[kind])
    info = inspect_image(path)
    assert info.read_size == read_image(path).shape[:2]
    assert info.size == (6, 9)
    assert info.bits == 8


def test_the_inspection_says_how_a_tiff_is_stored(tmp_path):
    """Pillow turns a TIFF itself, and only says the size after that."""
    path = tmp_path / 'a.tif'
    tag = (0x0112, 'H', 1, 6, True)
    path.write_bytes(tiff(NOISE.astype(np.uint16), extratags=[tag]))
    info = inspect_image(path)
    assert (info.size, info.read_size) == ((6, 9), (9, 6))
    assert (info.orientation, info.bits) == (6, 16)
    assert read_image(path).shape[:2] == (9, 6)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_the_limit_of_pixels_can_be_raised_and_lowered():
    content = saved(NOISE)
    with pytest.raises(ImageError, match=r'9 x 6 = 54 pixels.*max_pixels'):
        decode_image(content, 'a', max_pixels=53)
    limit = Image.MAX_IMAGE_PIXELS
    assert decode_image(content, 'a', max_pixels=54).shape == NOISE.shape
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_limit_above_that_of_pillow_holds(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 20)
    assert decode_image(saved(NOISE), 'a').shape == NOISE.shape


def test_a_missing_file_is_an_error_of_its_own(tmp_path):
    path = tmp_path / 'none.png'
    with pytest.raises(ImageNotFoundError, match=r'none\.png does not exist'):
        read_image(path)
    with pytest.raises(FileNotFoundError, match=r'none\.png does not exist'):
        read_image(path, backend_args=dict(backend='local'))
    with pytest.raises(ImageError, match=r'odd://a\.png cannot be fetched'):
        read_image('odd://a.png')


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(ImageError, match=r'pipe\.png is a pipe or device'):
        read_image(tmp_path / 'pipe.png')
    with pytest.raises(ImageError, match='is a folder: expected a regular'):
        read_image(tmp_path)


def test_a_name_that_is_no_utf_8_is_read_and_can_be_printed(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b'caf\xe9.png')
    with open(path, 'wb') as file:
        file.write(saved(NOISE))
    for name in (path, os.fsdecode(path)):
        assert np.array_equal(read_image(name), NOISE[..., ::-1])
    with open(path, 'wb') as file:
        file.write(b'no image')
    with pytest.raises(ImageError, match=r'caf\\udce9\.png') as caught:
        read_image(os.fsdecode(path))
    str(caught.value).encode('utf-8')


@pytest.mark.parametrize('file_format', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_the_first_frame_is_read_and_this_is_said_once(file_format):
    frames = [Image.new('L', (3, 2), value) for value in (20, 110)]
    content = saved(
        *(frames[0], file_format), save_all=True, append_images=frames[1:]
    )
    with pytest.warns(UserWarning, match=r'a\.gif .* has several frames'):
        assert (decode_image(content, 'a.gif') == 20).all()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert (decode_image(content, 'b.gif') == 20).all()


def test_an_image_of_pillow_is_read_by_the_rules_of_files(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_bytes(EIGHT_BITS['orientation 6'])
    with Image.open(path) as image:
        assert np.array_equal(convert_image(image, 'a'), read_image(path))
    deep = convert_image(Image.fromarray(DEEP), 'a')
    assert deep[0, :, 0].tolist() == SCALED
    path.write_bytes(saved(NOISE, 'JPEG')[:-40])
    with (
        Image.open(path) as image,
        pytest.raises(ImageError, match='Image a cannot be read'),
    ):
        convert_image(image, 'a')


def test_the_error_passes_between_processes():
    error = pickle.loads(pickle.dumps(ImageNotFoundError('Image a')))
    assert isinstance(error, ImageError)
    assert isinstance(error, FileNotFoundError | ValueError)
    assert str(error) == 'Image a'
