"""Videos are written whole, by PyAV or by OpenCV."""

import importlib.util

import numpy as np
import pytest

from projects.oneformer.errors import FileError
from projects.oneformer.video import read_frames
from projects.oneformer.video_writing import (
    DEFAULT_RATE,
    VideoWriter,
    frame_rate,
)

COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]


@pytest.fixture(params=['PyAV', 'OpenCV'])
def writer(request, monkeypatch):
    """Choose what writes."""
    if request.param == 'OpenCV':
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    else:
        pytest.importorskip('av', reason='PyAV is optional')
    return request.param


def frame(color, height=47, width=63):
    return np.full((height, width, 3), color, np.uint8)


def test_a_video_has_the_frames_in_their_order(writer, tmp_path):
    path = tmp_path / 'made' / 'a.mp4'
    video = VideoWriter(path, 12.5)
    for color in COLORS:
        video.add(frame(color))
    assert not path.exists()
    video.close()
    assert [p.name for p in path.parent.iterdir()] == ['a.mp4']
    assert frame_rate(path) == pytest.approx(12.5)
    found = [pixels for _, pixels in read_frames(str(path))]
    assert len(found) == 3
    for pixels, color in zip(found, COLORS, strict=True):
        # Odd sides are filled up; the codecs change colours a little.
        assert pixels.shape == (48, 64, 3)
        mean = pixels[..., ::-1].reshape(-1, 3).mean(0)
        assert np.abs(mean - color).max() < 20


def test_a_video_that_is_discarded_leaves_nothing(writer, tmp_path):
    video = VideoWriter(tmp_path / 'a.mp4', 25)
    video.discard()
    video.add(frame(COLORS[0]))
    video.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames_is_no_file(writer, tmp_path):
    VideoWriter(tmp_path / 'a.mp4', 25).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_named(writer, tmp_path):
    (tmp_path / 'file').write_text('')
    video = VideoWriter(tmp_path / 'file' / 'a.mp4', 25)
    with pytest.raises(FileError, match='cannot be written'):
        video.add(frame(COLORS[0]))


def test_a_video_that_cannot_be_completed_is_named(writer, tmp_path):
    video = VideoWriter(tmp_path / 'a.mp4', 25)
    video.add(frame(COLORS[0]))
    (tmp_path / 'a.mp4').mkdir()  # in the meantime
    with pytest.raises(FileError, match=r'a\.mp4 cannot be written'):
        video.close()
    video.discard()
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


def test_a_video_without_a_rate_gets_one(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'no video')
    assert frame_rate(tmp_path / 'a.mp4') == DEFAULT_RATE
