"""The frames of a video, read by OpenCV."""

import os
from collections.abc import Iterator

import cv2
import numpy as np

from .images import (
    MAX_PIXELS,
    ImageError,
    ImageNotFoundError,
    ImageTooLargeError,
    printable,
)


def read_frames(
    path: str, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the frames of a video in their order.

    OpenCV does not say whether a video ends or is damaged where it finds no
    further frame.

    Args:
        path (str): A local file.
        max_pixels (int): A video of larger frames is refused.

    Yields:
        tuple[str, np.ndarray]: Name, as if the frame were a PNG beside the
        video (``clip_000012.png`` for the frame 12, from 0, of
        ``clip.mp4``), and pixels, np.uint8 (H, W, 3), BGR.

    Raises:
        ImageTooLargeError: If it is refused for its size.
        ImageError: If it does not exist or no frame can be read.
    """
    if not os.path.exists(path):
        raise ImageNotFoundError(
            f'Video {printable(path)} does not exist: check its path.'
        )
    video = cv2.VideoCapture(path)
    try:
        width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            raise ImageTooLargeError(
                f'Video {printable(path)} has frames of {width} x {height} = '
                f'{width * height} pixels, expected at most {max_pixels}: '
                'save it smaller.'
            )
        number = 0
        while True:
            found, frame = video.read()
            if not found:
                break
            yield f'{os.path.splitext(path)[0]}_{number:06d}.png', frame
            number += 1
    finally:
        video.release()
    if not number:
        raise ImageError(
            f'Video {printable(path)} has no frame that OpenCV can read: '
            'restore it, or convert it to MP4 (H.264).'
        )
