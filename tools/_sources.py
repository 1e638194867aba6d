"""The images that a tool is given: files, folders, lists and videos."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

LIST_SUFFIX = '.txt'


class Item(NamedTuple):
    """An image to segment.

    Attributes:
        path (str): Where it is; a frame of a video is named as if it were a
            file beside it.
        name (str): What result files call it: below the folder that was
            given, else the path.
        content (np.ndarray | Exception | None): BGR pixels once it is read,
            or the ``ImageError`` why it cannot be.
    """

    path: str
    name: str
    content: 'np.ndarray | Exception | None' = None


class Sources:
    """Images by paths, read as far as they are asked for.

    A folder stands for its images, in the order of their names, a ``.txt``
    for the paths and addresses in it, one a line, and a video for its frames.

    Args:
        paths (Sequence[str]): As on the command line.
        rank (int): Place of this process, from 0.
        world_size (int): Processes that share the images: each takes every
            n-th one.
    """

    def __init__(
        self, paths: Sequence[str], rank: int = 0, world_size: int = 1
    ) -> None:
        self.paths = list(dict.fromkeys(paths))
        self.rank = rank
        self.world_size = world_size
        from _package import file_names

        for path in map(Path, filter(_is_local, self.paths)):
            if not path.exists():
                sys.exit(f'{path} does not exist.')
            if path.is_dir() and not file_names.images_in(path):
                suffixes = ', '.join(file_names.IMAGE_SUFFIXES)
                sys.exit(f'{path} has no image ({suffixes}).')

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self._all()):
            if number % self.world_size == self.rank:
                yield item

    def __len__(self) -> int:
        """Return how many images this process takes; of videos an estimate."""
        total = sum(map(_length, self.paths))
        return (total - self.rank + self.world_size - 1) // self.world_size

    def split_videos(self) -> tuple[list[Path], 'Sources']:
        """Return the videos, and what else there is."""
        from _package import file_names

        videos = [p for p in self.paths if file_names.is_video(p)]
        others = [p for p in self.paths if p not in videos]
        return (
            list(map(Path, videos)),
            Sources(others, self.rank, self.world_size),
        )

    def _all(self) -> Iterator[Item]:
        from _package import file_names

        for text in self.paths:
            path = Path(text)
            if not _is_local(text):
                yield Item(text, text)
            elif path.is_dir():
                for image in file_names.images_in(path):
                    yield Item(image, os.path.basename(image))
            elif path.suffix == LIST_SUFFIX:
                yield from (Item(line, line) for line in _lines(path))
            elif file_names.is_video(path.name):
                yield from frames(path)
            else:
                yield Item(str(path), str(path))


def frames(path: Path) -> Iterator[Item]:
    """Yield the frames of a video, or one item with the error."""
    from projects.oneformer.images import ImageError
    from projects.oneformer.video import read_frames

    try:
        for name, pixels in read_frames(str(path)):
            yield Item(name, name, pixels)
    except ImageError as error:
        yield Item(str(path), str(path), error)


def _lines(path: Path) -> Iterator[str]:
    """Yield the paths in a list; blank lines do not count."""
    with path.open(encoding='utf-8', errors='surrogateescape') as lines:
        for line in lines:
            if text := line.rstrip('\r\n'):
                yield text


def _is_local(path: str) -> bool:
    return '://' not in path


def _length(text: str) -> int:
    from _package import file_names

    path = Path(text)
    if not _is_local(text):
        return 1
    if path.is_dir():
        return len(file_names.images_in(path))
    if path.suffix == LIST_SUFFIX:
        return _count(_lines(path))
    if file_names.is_video(path.name):
        import cv2

        video = cv2.VideoCapture(str(path))
        try:
            return max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        finally:
            video.release()
    return 1


def _count(items: Iterable) -> int:
    return sum(1 for _ in items)
