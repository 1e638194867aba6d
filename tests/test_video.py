"""Videos are read frame by frame."""

import cv2
import numpy as np
import pytest

from projects.oneformer.images import ImageNotFoundError, ImageTooLargeError
from projects.oneformer.video import read_frames


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'clip.avi'
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 10, (96, 64))
    for value in (0, 200):
        writer.write(np.full((64, 96, 3), value, np.uint8))
    writer.release()
    return path


def test_frames_are_named_and_numbered(video):
    frames = list(read_frames(str(video), max_pixels=64 * 96))
    assert [name for name, _ in frames] == [
        str(video.with_name(f'clip_00000{number}.png')) for number in (0, 1)
    ]
    assert [round(pixels.mean(), -2) for _, pixels in frames] == [0, 200]


def test_frames_that_are_too_large_are_refused_before_one_is_decoded(
    video, monkeypatch
):
    def decode(_):
        raise AssertionError('a frame is decoded')

    class Video:
        """OpenCV's class cannot be changed."""

        def __init__(self, path):
            self.video = opened(path)
            self.get, self.release = self.video.get, self.video.release

        read = decode

    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', Video)
    with pytest.raises(
        ImageTooLargeError, match='96 x 64 = 6144 pixels, expected at most 99'
    ):
        list(read_frames(str(video), max_pixels=99))


def test_a_video_that_does_not_exist_is_named():
    with pytest.raises(ImageNotFoundError, match=r'Video no\.mp4 does not'):
        list(read_frames('no.mp4'))
