"""PNGs in forms that Pillow does not write."""

import struct
import zlib

import numpy as np

GREY, RGB = 0, 2  # types of colour


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a part of a PNG."""
    check = struct.pack('>I', zlib.crc32(kind + data))
    return struct.pack('>I', len(data)) + kind + data + check


def png_of_rows(
    rows: list[bytes],
    width: int,
    bits: int,
    color_type: int = GREY,
    extra: bytes = b'',
) -> bytes:
    """Return a PNG.

    Args:
        rows (list[bytes]): Packed pixels of each row.
        width (int): Pixels of a row.
        bits (int): Of a channel.
        color_type (int): As in the header.
        extra (bytes): Chunks before the pixels.
    """
    pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
    return b''.join(
        [
            _begin(width, len(rows), bits, color_type),
            extra,
            chunk(b'IDAT', pixels),
            chunk(b'IEND', b''),
        ]
    )


def png_with_a_broken_chunk(pixels: np.ndarray) -> bytes:
    """Return a PNG, RGB, whose pixels go on without a chunk around them."""
    height, width = pixels.shape[:2]
    rows = zlib.compress(b''.join(b'\0' + row.tobytes() for row in pixels))
    half = len(rows) // 2
    return b''.join(
        [
            _begin(width, height, 8, RGB),
            chunk(b'IDAT', rows[:half]),
            struct.pack('>II', 4096, 0),
            rows[half:],
        ]
    )


def _begin(width: int, height: int, bits: int, color_type: int) -> bytes:
    head = struct.pack('>IIBBBBB', width, height, bits, color_type, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head)
