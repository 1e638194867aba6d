"""Which files of a folder are images, by their names.

This module imports the standard library alone, so that the tools of
``tools/`` list images by it without loading the package.
"""

import os.path as osp

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def file_stem(path: str) -> str:
    """Return the name of a file without folder and ending."""
    return osp.splitext(osp.basename(path))[0]


def image_stem(name: str, suffix: str | None = None) -> str | None:
    """Return the name of an image without its ending.

    Upper and lower case are the same: cameras write ``.JPG``.

    Args:
        name (str): Name or path of a file.
        suffix (str, optional): The ending, such as ``_leftImg8bit.png``; by
            default any of ``IMAGE_SUFFIXES``.

    Returns:
        str | None: None if the name ends otherwise.
    """
    if suffix is None:
        stem, ending = osp.splitext(name)
        return stem if ending.lower() in IMAGE_SUFFIXES else None
    if not name.lower().endswith(suffix.lower()):
        return None
    return name[: len(name) - len(suffix)]
