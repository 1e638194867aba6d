"""PNGs of annotations: their values as they are stored, or why not.

Data sets, the validator and the converters read label maps and panoptic PNGs
by this module, so that a file means the same to all of them. It imports
NumPy, OpenCV and Pillow alone, so that the tools of ``tools/`` read PNGs by
it without loading the package.
"""

import struct
import zlib
from io import BytesIO
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_KINDS = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey-alpha', 6: 'RGBA'}
# Other formats that keep values, by Pillow's name of their pixels.
MODES = {
    '1': ('grey', 1),
    'L': ('grey', 8),
    'I;16': ('grey', 16),
    'P': ('palette', 8),
    'RGB': ('RGB', 8),
}
LOSSY = ('JPEG', 'MPO', 'JPEG2000', 'WEBP')
SPREAD = {2: 85, 4: 17}  # what Pillow multiplies grey values of few bits with
# What Pillow raises on damaged files.
READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Of the pixels at edges, those that no neighbour equals: up to 3 % in drawn
# maps, 8 % and more in compressed or smoothly scaled ones.
STRAY_SHARE = 0.05
STRAY_PIXELS = 50
STRAY_VALUES = 8
STRAY = (
    'has many stray values near edges, as JPEG compression or smooth scaling '
    'leaves them: use the map that was drawn, stored as PNG and scaled with '
    'nearest neighbours'
)


class Png(NamedTuple):
    """A PNG, read as it is.

    Attributes:
        kind (str): 'grey', 'RGB', 'palette', 'grey-alpha' or 'RGBA'.
        bits (int): Bits per channel.
        values (np.ndarray): Grey values or palette indices, (H, W), or
            channels, (H, W, C), as they are stored.
        palette (np.ndarray | None): RGB colours, uint8 (N, 3).
    """

    kind: str
    bits: int
    values: np.ndarray
    palette: np.ndarray | None

    def __str__(self) -> str:
        return f'{self.kind} with {self.bits} bits'

    @property
    def pixels(self) -> np.ndarray:
        """Values or channels; of a palette its colours."""
        return self.values if self.palette is None else self.colors

    @property
    def colors(self) -> np.ndarray:
        """Colours of a palette, uint8 (H, W, 3)."""
        assert self.palette is not None, 'only a palette has colours'
        return self.palette[self.values]

    @property
    def is_label_map(self) -> bool:
        """Whether it has one value per pixel."""
        return self.kind in ('grey', 'palette')


def png_header(content: bytes) -> tuple[str, int]:
    """Return kind and bits per channel of a PNG.

    Raises:
        ValueError: If it is no PNG.
    """
    if not content.startswith(PNG_SIGNATURE) or len(content) < 26:
        raise ValueError('it does not begin as a PNG does')
    return PNG_KINDS.get(content[25], 'unknown'), content[24]


def decode_png(content: bytes) -> Png:
    """Read a PNG without any conversion; a transparent colour is no matter.

    Raises:
        ValueError: If it is damaged or no PNG.
    """
    kind, bits = png_header(content)
    try:
        with Image.open(BytesIO(content)) as image:
            image.verify()  # check sums, which reading passes over
        with Image.open(BytesIO(content)) as image:
            png = _read(image, kind, bits)
        if bits == 16 and kind != 'grey':
            png = png._replace(values=_read_deep(content))
        return png
    except READ_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error


def decode_label_map(content: bytes) -> Png:
    """Read a label map: a PNG, or another format that keeps values.

    Raises:
        ValueError: If it is damaged, or of a format that changes values.
    """
    if content.startswith(PNG_SIGNATURE):
        return decode_png(content)
    try:
        with Image.open(BytesIO(content)) as image:
            if image.format in LOSSY:
                raise ValueError(
                    f'it is {image.format}, which changes the values of '
                    'pixels: use the map that was drawn, stored as PNG'
                )
            kind, bits = MODES.get(image.mode, (image.mode, 8))
            return _read(image, kind, bits)
    except READ_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _read(image: Image.Image, kind: str, bits: int) -> Png:
    values = np.asarray(image)
    if not values.size:
        raise ValueError('it has no pixel')
    if kind == 'grey' and bits < 8:
        values = values.astype(np.uint8) // SPREAD.get(bits, 1)
    palette = None
    if kind == 'palette':
        colors = np.array(image.getpalette('RGB'), np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 3), np.uint8)  # black, as libpng reads it
        palette[: len(colors)] = colors
    return Png(kind, bits, values, palette)


def _read_deep(content: bytes) -> np.ndarray:
    """Read 16 bits per channel, of which Pillow would keep 8."""
    values = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
    )  # (H, W, C), BGR
    if values is None or values.ndim != 3:
        raise ValueError('its pixels cannot be decoded')
    return values[..., [2, 1, 0, *range(3, values.shape[-1])]]


def has_stray_values(values: np.ndarray) -> bool:
    """Whether a label map shows traces of compression or smooth scaling.

    These leave many pixels along edges whose value none of the eight
    neighbours has, and these values are many as well.

    Args:
        values (np.ndarray): Labels, (H, W).
    """
    changes = values[:, 1:] != values[:, :-1]
    single = changes[:, 1:] & changes[:, :-1]
    # A lone pixel differs from both neighbours in its row: in most maps these
    # are too few already.
    enough = max(STRAY_PIXELS, STRAY_SHARE * np.count_nonzero(changes))
    if np.count_nonzero(single) < enough:
        return False
    lone = np.ones(values.shape, bool)
    lone[:, 1:] &= changes
    lone[:, :-1] &= changes
    _clear_equal(lone, values, slice(None), slice(None))
    _clear_equal(lone, values, slice(1, None), slice(None, -1))
    _clear_equal(lone, values, slice(None, -1), slice(1, None))
    edges = np.zeros(values.shape, bool)
    edges[:, 1:] |= changes
    edges[1:] |= values[1:] != values[:-1]
    enough = max(STRAY_PIXELS, STRAY_SHARE * np.count_nonzero(edges))
    # Objects of one pixel have the values of a few classes.
    return (
        np.count_nonzero(lone) > enough
        and len(np.unique(values[lone])) >= STRAY_VALUES
    )


def _clear_equal(
    lone: np.ndarray, values: np.ndarray, here: slice, there: slice
) -> None:
    """Clear what equals its neighbour a row below, in place, or above it."""
    differs = values[:-1, here] != values[1:, there]
    lone[:-1, here] &= differs
    lone[1:, there] &= differs
