"""Drawing regions and their names over an image, without torch.

A label lies inside its region and off the other labels and grows with the
image, and the same regions always give the same drawing. Drawings are RGB.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Smaller images are enlarged to about this, so that labels fit on them.
SMALL_SIDE = 512
# How far the things of one class go towards white or (negative) black.
TINTS = (0.0, 0.4, -0.35, 0.2, -0.2)


class Region(NamedTuple):
    """A region to draw.

    Attributes:
        mask (np.ndarray): Its pixels, bool (H, W).
        color (np.ndarray): RGB, 0 to 255.
        text (str): Its label; may be empty, for none.
    """

    mask: np.ndarray
    color: np.ndarray
    text: str


def class_colors(
    num_classes: int, palette: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """Colours of the classes, generated where the palette has none.

    Args:
        num_classes (int): Number of classes.
        palette (Sequence[Sequence[int]]): RGB colours of the first classes.

    Returns:
        np.ndarray: RGB, 0 to 255, uint8 (num_classes, 3).
    """
    index = np.arange(num_classes)
    # Steps of the golden ratio keep any number of hues apart.
    hue = (30 + 360 * 0.618034 * index) % 360
    saturation = np.array([0.85, 0.55, 0.7])[index % 3]
    value = np.array([0.95, 0.8, 0.6])[index // 3 % 3]
    hsv = np.stack([hue, saturation, value], axis=-1).astype(np.float32)
    if num_classes == 0:
        return hsv.astype(np.uint8)
    colors = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255
    given = list(palette)[:num_classes]
    if given:
        colors[: len(given)] = given
    return colors.astype(np.uint8)


def tint(color: np.ndarray, number: int) -> np.ndarray:
    """Tell the things of a class apart by how light they are.

    Args:
        color (np.ndarray): Of the class, RGB, 0 to 255.
        number (int): How many of its things have a colour already.
    """
    share = TINTS[number % len(TINTS)]
    goal = 255 if share > 0 else 0
    return color + abs(share) * (goal - color.astype(float))


def draw_regions(
    image: np.ndarray, regions: Sequence[Region], opacity: float = 0.5
) -> np.ndarray:
    """Draw regions over an image, the last on top.

    Args:
        image (np.ndarray): RGB uint8, (H, W, 3).
        regions (Sequence[Region]): With masks of the size of the image.
        opacity (float): Of the colours, 0 to 1; outlines are opaque.

    Returns:
        np.ndarray: RGB uint8. A small image comes back enlarged, by a whole
        factor that brings its longer side near ``SMALL_SIDE``.

    Raises:
        ValueError: If the opacity is not from 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f'Expected an opacity of 0 to 1, got {opacity}.')
    factor = max(1, round(SMALL_SIDE / max(image.shape[:2])))
    regions = [
        region._replace(mask=_enlarge(region.mask, factor))
        for region in regions
        if region.mask.any()
    ]
    canvas = _enlarge(image, factor)  # a copy
    line = max(1, round(max(canvas.shape) / 400))
    kernel = np.ones((2 * line + 1, 2 * line + 1), np.uint8)
    for mask, color, _ in regions:
        mixed = (1 - opacity) * canvas[mask] + opacity * color
        canvas[mask] = mixed.astype(np.uint8)
        # Nothing erodes at the border of the image, so no line is there.
        inside = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
        canvas[mask & ~inside] = color + 0.7 * (255 - color)
    return _write_labels(canvas, regions)


def add_legend(
    drawing: np.ndarray, entries: Sequence[tuple[str, np.ndarray]]
) -> np.ndarray:
    """Put names beside their colours, to the right of a drawing.

    Args:
        drawing (np.ndarray): RGB uint8, (H, W, 3).
        entries (Sequence[tuple[str, np.ndarray]]): Names and RGB colours.

    Returns:
        np.ndarray: RGB uint8, wider and, with many names, higher.
    """
    if not entries:
        return drawing
    font = load_font(_font_size(drawing))
    line = round(1.5 * font.size)
    gap = line // 2
    width = 3 * gap + font.size
    width += round(max(font.getlength(name) for name, _ in entries))
    height = max(len(drawing), 2 * gap + line * len(entries))
    sheet = Image.new('RGB', (drawing.shape[1] + width, height), 'white')
    sheet.paste(Image.fromarray(drawing), (0, 0))
    pen = ImageDraw.Draw(sheet)
    left = drawing.shape[1] + gap
    for number, (name, color) in enumerate(entries):
        top = gap + line * number
        square = (left, top, left + font.size, top + font.size)
        pen.rectangle(square, fill=tuple(map(int, color)))
        middle = (left + font.size + gap, top + font.size / 2)
        pen.text(middle, name, 'black', font, anchor='lm')
    return np.asarray(sheet)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _write_labels(canvas: np.ndarray, regions: list[Region]) -> np.ndarray:
    """Write each label into its region, where it covers no other label.

    A region with less than a quarter of the area of its label has none.
    """
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    size = _font_size(canvas)
    font, pad = load_font(size), size // 5
    taken: list[tuple[int, int, int, int]] = []
    # Small regions have the fewest places for a label, so they choose first.
    for mask, color, text in sorted(regions, key=lambda r: r.mask.sum()):
        width = round(font.getlength(text)) + 2 * pad
        height = size + 2 * pad
        if not text or mask.sum() < width * height / 4:
            continue
        box = _place_label(mask, width, height, taken)
        taken.append(box)
        dark = tuple((0.25 * color).astype(int))
        pen.rounded_rectangle(box, radius=pad, fill=dark)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        pen.text(middle, text, 'white', font, anchor='mm')
    return np.asarray(drawing)


def _place_label(
    mask: np.ndarray,
    width: int,
    height: int,
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Choose the box (x1, y1, x2, y2) of a label, deep inside its region."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = depth.shape
    left, top = width // 2 + 1, height // 2 + 1
    free = np.zeros_like(depth)
    inner = (slice(top, rows - top), slice(left, columns - left))
    free[inner] = depth[inner]
    for x1, y1, x2, y2 in taken:
        free[
            max(0, y1 - top) : y2 + top + 1, max(0, x1 - left) : x2 + left + 1
        ] = 0
    if not free.any():
        free = depth  # no free place: cover another label, or the border
    y, x = np.unravel_index(free.argmax(), free.shape)
    x1 = int(np.clip(x - width // 2, 0, max(0, columns - width)))
    y1 = int(np.clip(y - height // 2, 0, max(0, rows - height)))
    return x1, y1, x1 + width, y1 + height


def _font_size(drawing: np.ndarray) -> int:
    return round(20 * (max(drawing.shape) / SMALL_SIDE) ** 0.5)


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font of a size in pixels.

    It is matplotlib's own, which knows more scripts than that of Pillow,
    which stands in where matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        default = ImageFont.load_default(size)
        assert isinstance(default, ImageFont.FreeTypeFont)  # as it has a size
        return default
    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    return ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), size)
