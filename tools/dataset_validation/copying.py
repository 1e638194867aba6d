"""What the corrected copies of all kinds of sets share: files and notes."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from _package import errors

from .images import TURNS, bake_turn, clear_turn, read_image
from .report import Finding, found
from .sets import AnnotationSet


class Fixed(NamedTuple):
    """What became of an image in the copy.

    Attributes:
        image (dict | None): Its entry among the images; None if left out.
        annotations (list[dict]): Its entries among the annotations.
        notes (list[Finding]): What was done, level 'fixed'.
    """

    image: dict | None
    annotations: list[dict]
    notes: list[Finding]


@dataclass(frozen=True)
class Move:
    """Where the files go.

    Args:
        root (Path): Folder of the originals, absolute.
        out (Path): Folder of the copy, absolute.
    """

    root: Path
    out: Path

    def path(self, path: Path) -> Path:
        """Return the new place of a file, its folder made."""
        absolute = Path(os.path.abspath(path))
        if self.root not in absolute.parents and absolute != self.root:
            raise errors.InputError(
                f'{path} lies outside of {self.root}, so that it has no place '
                'in the copy: move it, and correct its file_name.'
            )
        target = self.out / absolute.relative_to(self.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def copy(self, path: Path) -> None:
        """Copy a file unless it is there."""
        target = self.path(path)
        if path.is_file() and not target.exists():
            shutil.copyfile(path, target)

    def set(self, aset: AnnotationSet) -> AnnotationSet:
        """Return a set in its new place."""
        return replace(
            aset,
            **{
                key: self.path(value)
                for key in ('image_dir', 'seg_dir', 'ann_file')
                if (value := getattr(aset, key))
            },
        )


def note(
    kind: str,
    file: Path,
    message: str,
    what: str | None = None,
    number: int | str | None = None,
) -> Finding:
    """Return a note about what was done to a file."""
    return found(kind, file, message, what, number, 'fixed')


def store_image(
    source: Path, move: Move, size: tuple[int, int]
) -> tuple[bool, list[Finding]]:
    """Copy an image, turned so that it fits its annotation.

    Args:
        source (Path): The image.
        move (Move): Where it goes.
        size (tuple[int, int]): Height and width of its annotation.

    Returns:
        tuple: Whether there is an image now, and what was done.
    """
    try:
        sample = read_image(source)
    except FileNotFoundError:
        return False, [note('image-missing', source, 'left out')]
    except ValueError:
        return False, [note('image-unreadable', source, 'left out')]
    target = move.path(source)
    if sample.orientation in TURNS and size[0] != size[1]:
        if sample.read_size == size:
            bake_turn(source, target)
            return True, [note('exif-turned', source, 'stored turned')]
        if sample.size == size and clear_turn(source, target):
            return True, [note('exif-rotation', source, 'tag cleared')]
    move.copy(source)
    return True, []
