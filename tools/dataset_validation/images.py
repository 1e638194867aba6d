"""The images of a set: their size, their turn, whether they are whole."""

import re
import struct
import warnings
from pathlib import Path

from _package import file_names, images
from PIL import Image, ImageOps

from .report import Finding, found

ImageInfo, TURNS = images.ImageInfo, images.TURNS


def read_image(path: Path) -> ImageInfo:
    """Decode an image as training does, and return what its file says.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of metadata that nobody reads
        return images.inspect_image(path)


def check_image(
    path: Path, size: tuple[int, int], source: str
) -> list[Finding]:
    """Compare an image with the height and width of its annotation.

    Args:
        path (Path): File of the image.
        size (tuple[int, int]): Height and width that ``source`` says.
        source (str): Where the size comes from, for the message.
    """
    try:
        file = read_image(path)
    except FileNotFoundError:
        message = 'does not exist: restore it, or correct the folder'
        return [found('image-missing', path, message)]
    except ValueError as error:
        reason = str(error).removeprefix(f'Image {images.printable(path)} ')
        return [found('image-unreadable', path, reason)]
    findings = _check_turn(path, file, size, source)
    if file.bits > 8:
        message = f'has {file.bits} bits per channel, which are scaled to 8'
        findings.append(found('image-depth', path, message))
    return findings


def _check_turn(
    path: Path, file: ImageInfo, size: tuple[int, int], source: str
) -> list[Finding]:
    tag = f'EXIF orientation {file.orientation}'
    expected = f'{size[1]} x {size[0]} (width x height) of {source}'
    read = f'{file.read_size[1]} x {file.read_size[0]}'
    if file.read_size != size:
        if file.size == size:
            message = (
                f'is {read} once turned as its {tag} says, and would fit the '
                f'{expected} unturned: clear the tag'
            )
            return [found('exif-rotation', path, message)]
        message = f'is {read}, expected the {expected}'
        return [found('image-size', path, message)]
    if file.orientation == 1:
        return []
    if file.read_size != file.size:
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
    """Store an image turned, without a tag."""
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
    """Store an image with the same pixels and no turn; say if it worked."""
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
        if (
            struct.unpack_from(f'{order}H', content, entry)[0]
            == images.ORIENTATION
        ):
            return order, entry + 8
    return None


def list_images(folder: Path) -> list[Path]:
    """Return the images below a folder, sorted; none if it is missing."""
    return [
        folder / name
        for name in file_names.list_files(folder)
        if file_names.image_stem(name) is not None
    ]
