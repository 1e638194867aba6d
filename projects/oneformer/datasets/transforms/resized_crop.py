"""Crops of resized images, without resizing the rest of them."""

import cv2
import numpy as np
from PIL import Image

BILINEAR = Image.Resampling.BILINEAR
NEAREST = Image.Resampling.NEAREST


def resized_crop(
    image: np.ndarray,
    size: tuple[int, int],
    offset: tuple[int, int],
    crop: tuple[int, int],
) -> np.ndarray:
    """Resize an image with Pillow's bilinear filter and crop it.

    The pixels are those of a resize of the whole image. Pillow resizes the
    columns first, then the rows, each time rounding to 8 bits. So only the
    rows that the crop depends on need new columns, and only the columns of
    the crop need new rows. The ``box`` of Pillow's ``resize`` would leave out
    more, but is rounded to float32, which changes some pixels. (An image
    more than twice as high as wide is resized as a whole if it shrinks.)

    Args:
        image (np.ndarray): uint8, (H, W) or (H, W, 3).
        size (tuple[int, int]): Height and width to resize to.
        offset (tuple[int, int]): First row and column of the crop.
        crop (tuple[int, int]): Height and width of the crop, which must lie
            within ``size``.

    Returns:
        np.ndarray: uint8, of the size ``crop``.
    """
    (height, width), (top, left) = crop, offset
    before = image.shape[:2]
    image = contiguous(image)
    if size == before:
        return image[top : top + height, left : left + width]
    if size == crop or not _columns_first(before, size):
        whole = Image.fromarray(image).resize(size[::-1], BILINEAR)
        return np.array(whole)[top : top + height, left : left + width]
    first, last = _rows_read(before[0], size[0], top, height)
    part = Image.fromarray(image[first:last])
    part = part.resize((size[1], last - first), BILINEAR)
    # The rows that were left out are black: they have no part in the crop.
    box = (left, -first, left + width, before[0] - first)
    part = part.crop(box).resize((width, size[0]), BILINEAR)
    return np.array(part.crop((0, top, width, top + height)))


def resized_id_crop(
    ids: np.ndarray,
    size: tuple[int, int],
    offset: tuple[int, int],
    crop: tuple[int, int],
) -> np.ndarray:
    """Resize a map of ids to the nearest pixels, as Pillow does, and crop it.

    Args:
        ids (np.ndarray): uint8, (H, W) or (H, W, 3).
        size (tuple[int, int]): Height and width to resize to.
        offset (tuple[int, int]): First row and column of the crop.
        crop (tuple[int, int]): Height and width of the crop, which must lie
            within ``size``.

    Returns:
        np.ndarray: uint8, of the size ``crop``.
    """
    if size == ids.shape[:2]:
        (top, left), (height, width) = offset, crop
        return ids[top : top + height, left : left + width]
    rows, columns = (
        _nearest(*axis)
        for axis in zip(ids.shape, size, offset, crop, strict=False)
    )
    ids = contiguous(ids)
    if len(rows) < rows[-1] + 1 - rows[0]:
        return _take_columns(ids[rows], columns)
    # Rows come several times: columns first, while they are fewer.
    part = _take_columns(ids[rows[0] : rows[-1] + 1], columns)
    return part[rows - rows[0]]


def contiguous(image: np.ndarray) -> np.ndarray:
    """Return ``np.ascontiguousarray(image)``, several times faster.

    Args:
        image (np.ndarray): uint8, (H, W) or (H, W, 3), perhaps a view with
            reversed axes, as flips and changes of the channels' order make.
    """
    turned = [stride < 0 for stride in image.strides]
    straight = image[tuple(slice(None, None, -1 if t else 1) for t in turned)]
    if not any(turned) or not straight.flags.c_contiguous:
        return np.ascontiguousarray(image)
    if turned[2:] == [True]:
        straight = cv2.cvtColor(straight, cv2.COLOR_BGR2RGB)
    if any(turned[:2]):
        axes = {(True, False): 0, (False, True): 1, (True, True): -1}
        straight = cv2.flip(straight, axes[turned[0], turned[1]])
    return straight


def _columns_first(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Return whether Pillow, of whatever version, resizes columns first.

    Version 13 begins with the rows where these lose more than twice as many
    pixels as the columns; versions up to 12 never do.
    """
    fewer_rows, fewer_columns = (
        b - a for b, a in zip(before, after, strict=True)
    )
    return fewer_rows <= max(0, 2 * fewer_columns)


def _rows_read(
    before: int, after: int, start: int, length: int
) -> tuple[int, int]:
    """Return the first and last + 1 row that rows of the result depend on."""
    scale = before / after
    # The filter is a triangle that ends at the next pixel, or wider where it
    # averages; one row more on each side for what is rounded.
    reach = max(scale, 1.0) + 1.5
    first = int((start + 0.5) * scale - reach)
    last = int((start + length - 0.5) * scale + reach) + 1
    return max(first, 0), min(last, before)


def _nearest(before: int, after: int, start: int, length: int) -> np.ndarray:
    """Return which pixels along an axis Pillow takes, (length,)."""
    numbers = Image.fromarray(np.arange(before, dtype=np.int32)[None])
    taken = np.asarray(numbers.resize((after, 1), NEAREST))[0]
    return taken[start : start + length]


def _take_columns(ids: np.ndarray, columns: np.ndarray) -> np.ndarray:
    # Whole rows are copied at once, columns pixel by pixel.
    return cv2.transpose(cv2.transpose(ids)[columns])
