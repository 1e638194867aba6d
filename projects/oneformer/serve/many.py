"""Many images, or the frames of a video, one after the other."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.file_names import is_video
from ..images import ImageError
from ..video import read_frames
from ..video_writing import VideoWriter, frame_rate
from .downloads import Archive
from .limits import Limits, Upload, read_upload
from .scaling import fit, resize_image, resize_result
from .served_model import ServedModel

DRAWING_SIDE = 1024


class Progress(NamedTuple):
    """What is done so far.

    Attributes:
        done (int): Images or frames.
        total (int | None): Of them, if it is known.
        name (str): Of the last one.
        drawing (np.ndarray | None): Of the last one, RGB uint8; None if it
            failed.
        problem (str): Why it failed, or what was left out; else empty.
    """

    done: int
    total: int | None
    name: str
    drawing: np.ndarray | None = None
    problem: str = ''


def segment_images(
    model: ServedModel,
    paths: Iterable[str],
    task: str,
    score_thr: float,
    opacity: float,
    limits: Limits,
    target: Path,
) -> Iterator[Progress]:
    """Segment images; drawings and JSON become a zip file.

    What cannot be read is reported, and the others are segmented.

    Args:
        model (ServedModel): The model.
        paths (Iterable[str]): Files; those over the limit are left out.
        task (str): The task.
        score_thr (float): See :meth:`SegmentationResult.filter`.
        opacity (float): Of the colours, 0 to 1.
        limits (Limits): What is accepted.
        target (Path): The zip file.
    """
    paths = list(paths)
    left_out = len(paths) - limits.max_images
    paths = paths[: limits.max_images]
    archive = Archive(target)
    names: set[str] = set()
    for number, path in enumerate(paths, 1):
        name = os.path.basename(path)
        try:
            result = model.segment(read_upload(path, limits), [task])
        except ImageError as error:
            yield Progress(number, len(paths), name, problem=str(error))
            continue
        result = result.filter(score_thr)
        archive.add(result)
        drawing = _draw(result, task, opacity)
        archive.add_drawing(_unique(result.stem or name, names), drawing)
        yield Progress(number, len(paths), name, drawing)
    archive.close()
    if left_out > 0:
        yield Progress(
            len(paths),
            len(paths),
            '',
            problem=f'{left_out} images were left out: this page accepts '
            f'{limits.max_images} at a time.',
        )


def segment_video(
    model: ServedModel,
    path: str,
    task: str,
    score_thr: float,
    opacity: float,
    limits: Limits,
    video: Path,
    target: Path,
) -> Iterator[Progress]:
    """Segment a video frame by frame; drawings become a video.

    Segments are not followed from one frame to the next.

    Args:
        model (ServedModel): The model.
        path (str): File of the video.
        task (str): The task.
        score_thr (float): See :meth:`SegmentationResult.filter`.
        opacity (float): Of the colours, 0 to 1.
        limits (Limits): What is accepted.
        video (Path): MP4 of the drawings.
        target (Path): Zip file of the JSON and the MP4.

    Raises:
        ImageError: If no frame can be read; the message names the file
            without the folder in which the server put it.
        FileError: If the MP4 cannot be written.
    """
    archive = Archive(target)
    writer = VideoWriter(video, frame_rate(Path(path)))
    number = 0
    try:
        for number, (name, frame) in enumerate(_frames(path, limits), 1):
            if number > limits.max_frames:
                number -= 1
                yield Progress(
                    number,
                    number,
                    '',
                    problem='The video is longer than the '
                    f'{limits.max_frames} frames that this page accepts: '
                    'the rest was left out.',
                )
                break
            size = frame.shape[:2]
            pixels = resize_image(
                np.ascontiguousarray(frame[..., ::-1]),
                fit(size, limits.max_side),
            )
            name = os.path.basename(name)
            result = model.segment(Upload(name, pixels, size), [task])
            result = result.filter(score_thr)
            archive.add(result)
            drawing = _draw(result, task, opacity)
            writer.add(drawing)
            yield Progress(number, None, name, drawing)
        writer.close()
        archive.add_files([video])
        archive.close()
    finally:
        writer.discard()


def split_videos(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the images and the videos among some files, by their endings."""
    images: list[str] = []
    videos: list[str] = []
    for path in paths:
        (videos if is_video(path) else images).append(path)
    return images, videos


def _frames(path: str, limits: Limits) -> Iterator[tuple[str, np.ndarray]]:
    try:
        yield from read_frames(path, limits.max_pixels)
    except ImageError as error:
        name = os.path.basename(path)
        raise type(error)(str(error).replace(path, name)) from error


def _draw(result, task: str, opacity: float) -> np.ndarray:
    shown = resize_result(result, fit(result.size, DRAWING_SIDE))
    return np.asarray(shown.plot(task, opacity=opacity))


def _unique(name: str, names: set[str]) -> str:
    """Return a name that is not among ``names``, and add it to them."""
    number, unique = 1, name
    while unique in names:
        number += 1
        unique = f'{name}_{number}'
    names.add(unique)
    return unique
