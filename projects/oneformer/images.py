"""Images as training, inference and tools read them.

An image becomes np.uint8 (H, W, 3), BGR, by these rules:

- 8 bits per channel: as mmcv's ``LoadImageFromFile`` reads them with Pillow,
  bit for bit. Grey, palettes, CMYK and 1 bit become RGB. Transparency is
  dropped, with a palette too; grey with alpha lies on RGB (124, 117, 104).
- 16 bits: each value v becomes v / 257 (65535 / 255), rounded to the nearest;
  12 bits of a TIFF likewise by their full range. Nothing is clipped.
- Floats: values from 0 to 1 times 255, rounded to the nearest. Others are
  refused, as nothing says which range is black to white; so are integers
  that are signed or have 32 bits.
- The orientation of the EXIF data is followed; damaged EXIF data is refused.
- Of several frames or pages the first is read, with a warning.
- More than ``max_pixels`` are refused before they are decoded; so are pipes,
  devices and folders.

Whatever cannot be read raises :class:`ImageError`, which names the image.
This module needs NumPy and Pillow alone, and OpenCV for colours of 16 bits,
so that the tools of ``tools/`` read by it without loading the package.
"""

import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from .errors import FileError, MissingFileError
from .optional import import_optional

#: Pixels of the largest image that is read by default, as in Pillow.
MAX_PIXELS = 178_956_970
ORIENTATION = 0x0112  # tag of EXIF
TURNS = (5, 6, 7, 8)  # orientations that swap height and width
#: What Pillow's decoders raise on damaged files, besides OSError and
#: ValueError.
DECODER_ERRORS = (
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Of grey with alpha, as in mmcv.
_CANVAS = (124, 117, 104)
# EPS, for example, would start another program.
_FORMATS = (
    'AVIF',
    'BMP',
    'DIB',
    'GIF',
    'ICO',
    'JPEG',
    'JPEG2000',
    'MPO',
    'PCX',
    'PNG',
    'PPM',
    'PSD',
    'QOI',
    'SGI',
    'TIFF',
    'WEBP',
    'TGA',  # knows its files by little, so after the others
)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEADER = threading.Lock()
_reported: set[str] = set()  # what a process warns of once


class ImageError(FileError, ValueError):
    """An image cannot be read; the message names it, and what to do."""


class ImageNotFoundError(ImageError, MissingFileError):
    """The file of an image does not exist."""


class ImageTooLargeError(ImageError):
    """An image has more pixels than the caller accepts."""


class ImageInfo(NamedTuple):
    """What a file says about its image.

    Attributes:
        size (tuple[int, int]): Stored height and width.
        orientation (int): EXIF orientation, 1 for none.
        mode (str): Pillow's name of the pixel format.
        bits (int): Bits per channel, 8 or more.
    """

    size: tuple[int, int]
    orientation: int
    mode: str
    bits: int

    @property
    def read_size(self) -> tuple[int, int]:
        """Height and width after the turn that the EXIF data asks for."""
        return self.size[::-1] if self.orientation in TURNS else self.size


# ---------------------------------------------------------------- reading


def read_image(
    path: str | bytes | os.PathLike,
    max_pixels: int = MAX_PIXELS,
    backend_args: dict | None = None,
) -> np.ndarray:
    """Read an image file.

    Args:
        path (str | bytes | os.PathLike): A local file, or an address such as
            ``s3://...`` that a file backend of mmengine reads.
        max_pixels (int): A larger image is refused.
        backend_args (dict, optional): File backend of mmengine.

    Returns:
        np.ndarray: np.uint8 (H, W, 3), BGR.

    Raises:
        ImageNotFoundError: If there is no such file.
        ImageError: If it cannot be read.
    """
    content = _read_content(path, backend_args)
    return decode_image(content, printable(path), max_pixels)


def decode_image(
    content: bytes, name: str, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode an image file that is in memory.

    Args:
        content (bytes): The whole file.
        name (str): What messages call it.
        max_pixels (int): A larger image is refused.

    Returns:
        np.ndarray: np.uint8 (H, W, 3), BGR.

    Raises:
        ImageTooLargeError: If it is refused for its size.
        ImageError: If it cannot be read.
    """
    with image_errors(name):
        image = _open(content, max_pixels)
        return _decode(image, _bits(image), content, name)


def convert_image(image: Image.Image, name: str) -> np.ndarray:
    """Return the pixels of a Pillow image by the rules of files.

    Of colours with 16 bits per channel Pillow keeps the upper 8.

    Args:
        image (Image.Image): Of any mode; its EXIF orientation is followed.
        name (str): What messages call it.

    Returns:
        np.ndarray: np.uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If its file is damaged, or a rule refuses its values.
    """
    with image_errors(name):
        # Of one that is decoded already, the file's bits are not known.
        bits = _bits(image) if getattr(image, 'tile', None) else 16
        return _convert(image, image.format, bits)


def convert_array(array: np.ndarray) -> np.ndarray:
    """Return an array with three channels, in the order that it has.

    Args:
        array (np.ndarray): np.uint8 of shape (H, W, 3), (H, W, 4), whose last
            channel is dropped, or grey, (H, W) or (H, W, 1).

    Returns:
        np.ndarray: np.uint8 (H, W, 3).

    Raises:
        ImageError: If it has another type or shape, or is empty.
    """
    pixels = array[..., None] if array.ndim == 2 else array
    if (
        pixels.ndim != 3
        or pixels.shape[-1] not in (1, 3, 4)
        or pixels.dtype != np.uint8
        or not pixels.size
    ):
        raise ImageError(
            'Expected an array uint8 of shape (H, W), (H, W, 1), (H, W, 3) '
            f'or (H, W, 4), not empty, got {array.dtype} of {array.shape}. '
            'Scale other types to 0 .. 255.'
        )
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    return pixels[..., :3]


def inspect_image(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS
) -> ImageInfo:
    """Decode an image whole, and return what its file says.

    What :func:`read_image` refuses is refused here as well.

    Raises:
        ImageNotFoundError: If there is no such file.
        ImageError: If it cannot be read.
    """
    content, name = _read_content(path), printable(path)
    with image_errors(name):
        image = _open(content, max_pixels)
        mode, bits = image.mode, _bits(image)
        if image.format in ('JPEG', 'MPO'):
            size = image.size
            # At an eighth of the size: all bytes are read, few pixels are
            # computed.
            image.draft(None, (1, 1))
            image.load()
            orientation = _orientation(image)
        else:
            if image.format == 'PNG':  # EXIF data may follow the pixels
                image.load()
            orientation = _orientation(image)
            _decode(image, bits, content, name)
            size = image.size
            if image.format == 'TIFF' and orientation in TURNS:
                size = size[::-1]  # Pillow has turned it
        return ImageInfo(size[::-1], orientation, mode, bits)


@contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Raise what a block raises as an :class:`ImageError` of an image.

    Decoders raise whatever a damaged file leads them to: SyntaxError,
    struct.error, DecompressionBombError, KeyError and others.

    Args:
        name (str): What the message calls the image.
    """
    try:
        yield
    except ImageError:
        raise
    except _RefusedError as error:
        large = isinstance(error, _TooLargeError)
        kind = ImageTooLargeError if large else ImageError
        raise kind(f'Image {name} cannot be read: {error}') from None
    except FileNotFoundError as error:
        raise ImageNotFoundError(
            f'Image {name} does not exist: check its path.'
        ) from error
    except Exception as error:
        reason = str(error).rstrip('.') or type(error).__name__
        raise ImageError(
            f'Image {name} cannot be read: {reason}. Restore the file.'
        ) from error


class _RefusedError(Exception):
    """Reason and remedy, for the message that names the image."""


class _TooLargeError(_RefusedError):
    """The image has too many pixels."""


def printable(path: str | bytes | os.PathLike) -> str:
    r"""Return a path that every stream can print, ``\udcff`` spelled out."""
    text = os.fsdecode(path)
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def _read_content(
    path: str | bytes | os.PathLike, backend_args: dict | None = None
) -> bytes:
    name = printable(path)
    if backend_args is not None or '://' in name:
        # The tools and the ONNX runner read local files without it.
        get = import_optional('mmengine.fileio', 'Images at an address').get
        try:
            return get(os.fsdecode(path), backend_args=backend_args)
        except FileNotFoundError as error:
            raise ImageNotFoundError(
                f'Image {name} does not exist: check its path.'
            ) from error
        except Exception as error:  # whatever a backend raises
            reason = f'{type(error).__name__}: {error}'
            raise ImageError(
                f'Image {name} cannot be fetched ({reason}): check its '
                'address and backend_args.'
            ) from error
    try:
        # A pipe would be waited for, and a device may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = 'folder' if os.path.isdir(path) else 'pipe or device'
            raise ImageError(
                f'Image {name} is a {kind}: expected a regular file. Save '
                'the image as one.'
            )
        with open(path, 'rb') as file:
            return file.read()
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageNotFoundError(
            f'Image {name} does not exist: check its path.'
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise ImageError(
            f'Image {name} cannot be opened: {reason}. Check its path and '
            'its permissions.'
        ) from error


def _open(content: bytes, max_pixels: int) -> Image.Image:
    """Return an image whose header is read."""
    if not content:
        raise _RefusedError('the file is empty. Restore it.')
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        # Pillow has one limit for the process, and refuses twice of it. The
        # rest is checked below; no pixel is decoded before.
        with _HEADER:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
            try:
                image = Image.open(BytesIO(content), formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except Image.DecompressionBombError:
        raise _TooLargeError(_too_large(None, max_pixels)) from None
    except Image.UnidentifiedImageError:
        raise _RefusedError(
            f'it begins with {content[:8]!r}. Expected an image in a known '
            'format: restore the file, or save it as PNG or JPEG.'
        ) from None
    width, height = image.size
    if not width or not height:
        raise _RefusedError(
            f'it is {width} x {height} pixels. Restore the file.'
        )
    if width * height > max_pixels:
        raise _TooLargeError(_too_large(image.size, max_pixels))
    return image


def _too_large(size: tuple[int, int] | None, max_pixels: int) -> str:
    number = f'more than {2 * max_pixels} pixels'
    if size is not None:
        number = f'{size[0]} x {size[1]} = {size[0] * size[1]} pixels'
    return (
        f'it has {number}, expected at most {max_pixels}. Save it smaller, or '
        'raise max_pixels of the step LoadImageFromFile in the pipelines of '
        'the config.'
    )


# ------------------------------------------------------------- pixel rules


def _decode(
    image: Image.Image, bits: int, content: bytes, name: str
) -> np.ndarray:
    """Return the pixels of an opened file, np.uint8 (H, W, 3), BGR."""
    if bits == 16 and image.mode in ('RGB', 'RGBA'):
        pixels = _decode_deep_colors(image, content)
    else:
        pixels = _convert(image, image.format, bits)
    # A photo of a phone may carry a second view or a small copy.
    if getattr(image, 'is_animated', False) and image.format != 'MPO':
        _report_frames(name, image.format)
    return pixels


def _bits(image: Image.Image) -> int:
    """Return the bits per channel of a file before it is decoded."""
    if image.mode == 'F':
        return 32
    if not image.mode.startswith('I') and image.format not in ('PNG', 'TIFF'):
        return 8
    raw = ' '.join(str(tile[3]) for tile in getattr(image, 'tile', ()))
    for bits in (12, 32):
        if f';{bits}' in raw:
            return bits
    return 16 if ';16' in raw or image.mode.startswith('I') else 8


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception as error:
        raise _RefusedError(
            f'its EXIF data is damaged ({error}), so that its orientation is '
            'unknown. Save it again without EXIF data.'
        ) from error
    return orientation if orientation in range(1, 9) else 1


def _turn(image: Image.Image) -> Image.Image:
    """Turn a decoded image as its EXIF data asks."""
    orientation = _orientation(image)
    if orientation in _TRANSPOSE:
        return image.transpose(_TRANSPOSE[orientation])
    return image


def _convert(
    image: Image.Image, file_format: str | None, bits: int
) -> np.ndarray:
    image.load()
    image = _turn(image)
    if image.mode == 'F':
        image = _scale_floats(image)
    elif image.mode.startswith('I'):
        image = _scale_integers(image, file_format, bits)
    if image.mode == 'LA':
        colors = image.convert('RGBA')
        image = Image.new('RGB', colors.size, _CANVAS)
        image.paste(colors, mask=colors.getchannel('A'))
    elif image.mode != 'RGB':
        image = image.convert('RGB')
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _scale_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64)
    if not (values >= 0).all() or not (values <= 1).all():  # NaN included
        raise _RefusedError(
            f'it has floats from {values.min():g} to {values.max():g}, '
            'expected 0 (black) to 1 (white). Scale them, or save them as 8 '
            'or 16 bits.'
        )
    return Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8))


def _scale_integers(
    image: Image.Image, file_format: str | None, bits: int
) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    # Mode I has 32 bits; Pillow reads 16 bits of these formats into it.
    unsigned = image.mode != 'I' or file_format in ('PNG', 'PPM')
    if not unsigned or values.min() < 0 or values.max() > 65535:
        raise _RefusedError(
            f'it has signed integers or 32 bits, from {values.min()} to '
            f'{values.max()}. Expected unsigned integers of 8 or 16 bits: '
            'scale them and save them so.'
        )
    return Image.fromarray(_scale(values, 4095 if bits == 12 else 65535))


def _scale(values: np.ndarray, full: int) -> np.ndarray:
    """Scale integers from 0 to ``full``; np.uint8, to the nearest."""
    values = values.astype(np.int64)
    return ((values * 255 + full // 2) // full).astype(np.uint8)


def _decode_deep_colors(image: Image.Image, content: bytes) -> np.ndarray:
    """Decode colours of 16 bits, of which Pillow cuts off the lower half."""
    import cv2  # slow to import, and such files are few

    image.load()  # refuses what is damaged; OpenCV may not
    values = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
    )
    size = (image.height, image.width)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != size:
        raise _RefusedError(
            'its 16 bits per channel are stored in a way that OpenCV does '
            'not read. Save it as PNG.'
        )
    pixels = _scale(values[..., :3], 65535)
    turned = _turn(image)  # of a TIFF, both have turned it already
    if turned is image:
        return pixels
    rgb = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    rgb = rgb.transpose(_TRANSPOSE[_orientation(image)])
    return np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1])


def _report_frames(name: str, file_format: str | None) -> None:
    if 'frames' in _reported:
        return
    _reported.add('frames')
    warnings.warn(
        f'Image {name} ({file_format}) has several frames or pages: the '
        'first is read, of this image and of others. Split it if you need '
        'the rest.',
        stacklevel=2,
    )
