"""One HTML file of images with their errors, which needs nothing else."""

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

TEMPLATE = Path(__file__).with_name('_error_page.html')
SIDE = 480  # pixels of the longer side of an image


def error_page(title: str, classes: Sequence[str], cards: list[dict]) -> str:
    """Return the page.

    Args:
        title (str): Its heading.
        classes (Sequence[str]): Names, by label.
        cards (list[dict]): For each image ``name``, ``image`` (see
            :func:`embedded`) and ``tasks``: by task ``truth``, ``found`` and
            ``wrong``, images, and ``errors``, a list of dicts with ``kind``,
            ``label``, ``loss``, ``share`` (wrong pixels, of those of the
            image) and ``score``, which may be None.
    """
    content = json.dumps(dict(title=title, classes=classes, cards=cards))
    # The end of a script within a name would end the data.
    content = content.replace('<', '\\u003c')
    return TEMPLATE.read_text(encoding='utf-8').replace('{{data}}', content)


def embedded(pixels: np.ndarray) -> str:
    """Return an image, RGB uint8 (H, W, 3), as text for a page."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    content = BytesIO()
    image.save(content, 'JPEG', quality=80)
    text = base64.b64encode(content.getvalue()).decode()
    return f'data:image/jpeg;base64,{text}'
