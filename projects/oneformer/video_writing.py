"""Writes a video frame by frame: by PyAV where it is installed, or OpenCV."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from .errors import FileError

DEFAULT_RATE = 25.0  # of videos that do not state theirs


def frame_rate(path: Path) -> float:
    """Return the frames per second of a video."""
    video = cv2.VideoCapture(str(path))
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
    finally:
        video.release()
    return rate if 0 < rate < 1000 else DEFAULT_RATE


class VideoWriter:
    """An MP4 that appears when it is closed.

    PyAV writes H.264, which browsers play; OpenCV, whose wheels have no
    encoder for it, MPEG-4.

    Args:
        path (Path): Where to, ``.mp4``.
        rate (float): Frames per second.

    Raises:
        FileError: If it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = rate
        self._partial = path.with_name(f'.{path.stem}.{os.getpid()}.mp4')
        self._writer: _PyAV | _OpenCV | None = None

    def add(self, frame: np.ndarray) -> None:
        """Add a frame, RGB uint8 (H, W, 3); all have the size of the first.

        Odd sides get a further row or column, as H.264 needs even ones.
        """
        height, width = frame.shape[:2]
        frame = np.pad(
            frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge'
        )
        with self._file_errors():
            if self._writer is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                kind = _PyAV if importlib.util.find_spec('av') else _OpenCV
                self._writer = kind(self._partial, self.rate, frame.shape[:2])
            self._writer.add(frame)

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            with self._file_errors():
                self._writer.close()
                self._writer = None
                os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Remove what was written of the file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileError(
                f'{self.path} cannot be written: {error}'
            ) from error


class _OpenCV:
    def __init__(self, path: Path, rate: float, size: tuple) -> None:
        height, width = size
        code = cv2.VideoWriter.fourcc(*'mp4v')
        self._video = cv2.VideoWriter(str(path), code, rate, (width, height))
        if not self._video.isOpened():
            raise OSError(
                'OpenCV makes no MP4 there. Check the folder, or install PyAV '
                '(pip install av)'
            )

    def add(self, frame: np.ndarray) -> None:
        self._video.write(frame[..., ::-1])

    def close(self) -> None:
        self._video.release()


class _PyAV:
    def __init__(self, path: Path, rate: float, size: tuple) -> None:
        import av

        self._av = av
        self._container = av.open(str(path), 'w')
        self._stream = self._container.add_stream(
            'h264', rate=Fraction(rate).limit_denominator(1001)
        )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = 'yuv420p'

    def add(self, frame: np.ndarray) -> None:
        image = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format='rgb24'
        )
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
