"""Reading pictures and PNGs with their oddities left in."""

import re
import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from .report import Finding, found

ORIENTATION = 0x0112
TURNS = (5, 6, 7, 8)  # orientations that swap height and width
EXTENSIONS = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_TYPES = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey-alpha', 6: 'RGBA'}
# What Pillow raises on damaged files.
READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


class Picture(NamedTuple):
    """What the file of a picture says.

    Attributes:
        size (tuple[int, int]): Stored height and width.
        orientation (int): EXIF orientation, 1 for none.
        mode (str): Pillow's name of the pixel format.
    """

    size: tuple[int, int]
    orientation: int
    mode: str

    @property
    def read_size(self) -> tuple[int, int]:
        """Height and width after the turn that the EXIF tag asks for."""
        return self.size[::-1] if self.orientation in TURNS else self.size


def read_picture(path: Path) -> Picture:
    """Decode a picture whole, and return what it is.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of metadata that nobody reads
        try:
            with Image.open(path) as image:
                orientation = image.getexif().get(ORIENTATION, 1)
                known = orientation if orientation in range(1, 9) else 1
                picture = Picture(image.size[::-1], known, image.mode)
                # JPEG at an eighth of its size: all bytes are read, few
                # pixels are computed.
                image.draft(None, (1, 1))
                image.load()
        except FileNotFoundError:
            raise
        except READ_ERRORS as error:
            raise ValueError(str(error) or type(error).__name__) from error
    return picture


def check_picture(
    path: Path, size: tuple[int, int], source: str
) -> list[Finding]:
    """Compare a picture with the height and width of its annotation.

    Args:
        path (Path): File of the picture.
        size (tuple[int, int]): Height and width that ``source`` says.
        source (str): Where the size comes from, for the message.
    """
    try:
        picture = read_picture(path)
    except FileNotFoundError:
        message = 'does not exist: restore it, or correct the folder'
        return [found('image-missing', path, message)]
    except ValueError as error:
        return [found('image-unreadable', path, f'cannot be read: {error}')]
    findings = _check_turn(path, picture, size, source)
    if picture.mode.startswith(('I', 'F')):
        message = f'has the pixel format {picture.mode}: expected 8 bits'
        findings.append(found('image-depth', path, message))
    return findings


def _check_turn(
    path: Path, picture: Picture, size: tuple[int, int], source: str
) -> list[Finding]:
    tag = f'EXIF orientation {picture.orientation}'
    expected = f'{size[1]} x {size[0]} (width x height) of {source}'
    read = f'{picture.read_size[1]} x {picture.read_size[0]}'
    if picture.read_size != size:
        if picture.size == size:
            message = (
                f'is {read} once turned as its {tag} says, and would fit the '
                f'{expected} unturned: clear the tag'
            )
            return [found('exif-rotation', path, message)]
        message = f'is {read}, expected the {expected}'
        return [found('image-size', path, message)]
    if picture.orientation == 1:
        return []
    if picture.read_size != picture.size:
        message = (
            f'fits once turned as its {tag} says, which this project does '
            'and others may not'
        )
    else:
        message = (
            f'has {tag}, which is followed when it is read; its size cannot '
            'tell whether it was when it was annotated: look at it'
        )
    return [found('exif-turned', path, message)]


def bake_turn(source: Path, target: Path) -> None:
    """Store a picture turned, without a tag."""
    with Image.open(source) as image:
        turned = ImageOps.exif_transpose(image)
        options = dict(quality=95, subsampling=0)
        turned.save(
            target,
            format=image.format,
            icc_profile=image.info.get('icc_profile'),
            **(options if image.format == 'JPEG' else {}),
        )


def clear_turn(source: Path, target: Path) -> bool:
    """Store a picture with the same pixels and no turn; say if it worked."""
    with Image.open(source) as image:
        if image.format == 'PNG':
            image.save(target, exif=b'')
            return True
    content = bytearray(source.read_bytes())
    position = _orientation_position(content)
    if position is None:
        return False
    order, start = position
    struct.pack_into(f'{order}H', content, start, 1)
    target.write_bytes(content)
    return True


def _orientation_position(content: bytes) -> tuple[str, int] | None:
    """Return byte order and place of the orientation in a JPEG."""
    match = re.search(rb'Exif\0\0(II\*\0|MM\0\*)', content)
    if match is None:
        return None
    start = match.start(1)
    order = '<' if match[1][:1] == b'I' else '>'
    (offset,) = struct.unpack_from(f'{order}I', content, start + 4)
    (entries,) = struct.unpack_from(f'{order}H', content, start + offset)
    for number in range(entries):
        entry = start + offset + 2 + 12 * number
        if struct.unpack_from(f'{order}H', content, entry)[0] == ORIENTATION:
            return order, entry + 8
    return None


# ------------------------------------------------------------------- PNGs


class Png(NamedTuple):
    """A PNG, read as it is.

    Attributes:
        kind (str): A value of ``PNG_TYPES``.
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


def read_png(path: Path) -> Png:
    """Read a PNG without any conversion.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or no PNG.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # a folder, or without permission
        raise ValueError(error.strerror or str(error)) from error
    if not content.startswith(PNG_SIGNATURE) or len(content) < 26:
        raise ValueError('it does not begin as a PNG does')
    bits, kind = content[24], PNG_TYPES.get(content[25], 'unknown')
    try:
        with Image.open(BytesIO(content)) as image:
            image.verify()  # check sums, which reading passes over
        with Image.open(BytesIO(content)) as image:
            palette = image.getpalette('RGB') if kind == 'palette' else None
            values = np.asarray(image)
    except READ_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if bits == 16 and kind != 'grey':
        values = _read_deep(path)
    if palette is not None:
        palette = np.array(palette, np.uint8).reshape(-1, 3)
    return Png(kind, bits, values, palette)


def _read_deep(path: Path) -> np.ndarray:
    """Read 16 bits per channel, of which Pillow would keep 8."""
    import cv2

    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # (H, W, C), BGR
    return values[..., [2, 1, 0, *range(3, values.shape[-1])]]


def decode(channels: np.ndarray) -> np.ndarray:
    """Return red + 256 green + 65536 blue, int64 (H, W)."""
    red, green, blue = np.moveaxis(channels[..., :3].astype(np.int64), -1, 0)
    return red + 256 * green + 65536 * blue


def encode(ids: np.ndarray) -> np.ndarray:
    """Return the RGB code of ids, uint8 (H, W, 3)."""
    codes = [ids % 256, ids // 256 % 256, ids // 65536]
    return np.stack(codes, axis=-1).astype(np.uint8)


def write_png(path: Path, values: np.ndarray) -> None:
    """Write grey values, uint8 (H, W), or RGB, uint8 (H, W, 3)."""
    Image.fromarray(values).save(path, format='PNG')
