"""The frames of a video, read by OpenCV."""

import os
from collections.abc import Iterator

import cv2
import numpy as np

from .images import ImageError, ImageNotFoundError, printable


def read_frames(path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the frames of a video in their order.

    OpenCV does not say whether a video ends or is damaged where it finds no
    further frame.

    Args:
        path (str): A local file.

    Yields:
        tuple[str, np.ndarray]: Name, as if the frame were a PNG beside the
        video (``clip_000012.png`` for the frame 12, from 0, of
        ``clip.mp4``), and pixels, np.uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If it does not exist or no frame can be read.
    """
    if not os.path.exists(path):
        raise ImageNotFoundError(
            f'Video {printable(path)} does not exist: check its path.'
        )
    video = cv2.VideoCapture(path)
    try:
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
