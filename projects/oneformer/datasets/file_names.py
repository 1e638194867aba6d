"""Which files of a folder are images, and which label map is whose.

Data sets and the validator list files by these functions, so that both see
the same. This module imports the standard library alone, so that the tools of
``tools/`` use it without loading the package.
"""

import os
import os.path as osp
from typing import NamedTuple

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg')


def file_stem(path: str) -> str:
    """Return the name of a file without folder and ending."""
    return osp.splitext(osp.basename(path))[0]


class Paired(NamedTuple):
    """An image and its label map, as paths below their folders.

    Attributes:
        image (str): The image.
        stem (str): Its name without ending, in subfolders with ``/``.
        label_map (str | None): The label map; None if there is none.
    """

    image: str
    stem: str
    label_map: str | None


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


def is_video(path: str) -> bool:
    """Whether the name of a file ends as that of a video."""
    return osp.splitext(path)[1].lower() in VIDEO_SUFFIXES


def images_in(folder: str | os.PathLike) -> list[str]:
    """Return the paths of the images of a folder, sorted.

    Those in subfolders are left out.
    """
    with os.scandir(os.fspath(folder)) as entries:
        return sorted(
            os.fsdecode(entry.path)
            for entry in entries
            if image_stem(os.fsdecode(entry.name)) is not None
            and not entry.is_dir()
        )


def list_files(folder: str | os.PathLike) -> list[str]:
    """Return the files below a folder, as sorted paths relative to it.

    Links are followed, also to folders, except for those that lead back to a
    folder above them. A link to nothing is listed, as reading it raises an
    error that names it. Names that begin with a dot are left out: systems
    write such files (``._1.jpg``) beside images.
    """
    found: list[str] = []
    _list_below(os.fspath(folder), '', frozenset(), found)
    return sorted(found)


def _list_below(
    folder: str, prefix: str, above: frozenset[str], found: list[str]
) -> None:
    real = osp.realpath(folder)
    if real in above or not osp.isdir(real):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            path = prefix + entry.name
            linked = entry.is_symlink()  # maybe to itself
            if osp.isdir(entry.path) if linked else entry.is_dir():
                _list_below(entry.path, f'{path}/', above | {real}, found)
            elif linked or entry.is_file():
                found.append(path)


def pair_label_maps(
    image_dir: str | os.PathLike,
    map_dir: str | os.PathLike,
    image_suffix: str | None = None,
    map_suffix: str = '.png',
    image_end: str = '',
) -> tuple[list[Paired], list[str]]:
    """Find the label map of each image of a folder by its name.

    A map lies in the same place as its image, subfolders included. Endings
    are compared without regard to upper and lower case. Where images and maps
    share a folder, what ends as the maps do is no image.

    Args:
        image_dir (str | os.PathLike): Folder of the images.
        map_dir (str | os.PathLike): Folder of the maps.
        image_suffix (str, optional): See :func:`image_stem`.
        map_suffix (str): Ending of the maps, in place of that of the image.
        image_end (str): End of the stems of images that maps lack.

    Returns:
        tuple: The images with their maps, and the maps without an image.
    """
    images = list_files(image_dir)
    shared = osp.realpath(image_dir) == osp.realpath(map_dir)
    maps: dict[str, list[str]] = {}
    for name in images if shared else list_files(map_dir):
        stem = image_stem(name, map_suffix)
        if stem is not None:
            maps.setdefault(stem, []).append(name)
    for names in maps.values():  # of 1.PNG and 1.png the latter goes first
        names.sort(key=lambda name: not name.endswith(map_suffix))
    pairs = []
    for name in images:
        stem = image_stem(name, image_suffix)
        if stem is None or not stem.endswith(image_end):
            continue
        if shared and image_stem(name, map_suffix) is not None:
            continue
        stem = stem.removesuffix(image_end)
        pairs.append(Paired(name, stem, next(iter(maps.get(stem, ())), None)))
    used = {pair.label_map for pair in pairs}
    left = [name for names in maps.values() for name in names]
    return pairs, [name for name in left if name not in used]
