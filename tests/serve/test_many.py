"""Many images, and videos."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from projects.oneformer.images import ImageError, ImageTooLargeError
from projects.oneformer.serve.many import (
    segment_images,
    segment_video,
    split_videos,
)
from tests.serve.conftest import LIMITS


def lines_of(path: Path) -> list[dict]:
    with zipfile.ZipFile(path) as archive:
        text = archive.read('segments.jsonl').decode()
    return [json.loads(line) for line in text.splitlines() if line]


def test_a_damaged_image_is_reported_and_the_others_are_segmented(
    models, photos, tmp_path
):
    paths = [str(photos / n) for n in ('photo.png', 'text.png', 'other.jpg')]
    steps = segment_images(
        models[0], paths, 'semantic', 0.3, 0.5, LIMITS, tmp_path / 'a.zip'
    )
    first, bad, last = list(steps)
    assert (first.done, first.total, first.name) == (1, 3, 'photo.png')
    assert first.drawing is not None and first.problem == ''
    assert bad.drawing is None and 'Image text.png cannot' in bad.problem
    assert last.done == 3
    found = lines_of(tmp_path / 'a.zip')
    assert [line['file'] for line in found] == ['photo.png', 'other.jpg']
    assert 'semantic' in found[0] and 'panoptic' not in found[0]


def test_images_over_the_limit_are_left_out_and_counted(
    models, photos, tmp_path
):
    paths = [str(photos / 'photo.png')] * 5  # the limit is 3
    *steps, last = segment_images(
        models[0], paths, 'semantic', 0.3, 0.5, LIMITS, tmp_path / 'a.zip'
    )
    assert len(steps) == 3
    assert '2 images were left out' in last.problem
    with zipfile.ZipFile(tmp_path / 'a.zip') as archive:
        drawings = {n for n in archive.namelist() if n.endswith('.jpg')}
    assert drawings == {'photo.jpg', 'photo_2.jpg', 'photo_3.jpg'}


def test_a_video_becomes_a_video_of_drawings(models, video, tmp_path):
    *steps, last = segment_video(
        *(models[0], str(video), 'semantic', 0.3, 0.5, LIMITS),
        tmp_path / 'drawn.mp4',
        tmp_path / 'a.zip',
    )
    assert [step.done for step in steps] == [1, 2, 3, 4]
    assert 'longer than the 4 frames' in last.problem
    assert len(lines_of(tmp_path / 'a.zip')) == 4
    drawn = cv2.VideoCapture(str(tmp_path / 'drawn.mp4'))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_damaged_video_is_named_without_its_folder(models, tmp_path):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(b'no video')
    with pytest.raises(ImageError, match=r'^Video clip\.mp4 has no frame'):
        list(
            segment_video(
                *(models[0], str(path), 'semantic', 0.3, 0.5, LIMITS),
                tmp_path / 'drawn.mp4',
                tmp_path / 'a.zip',
            )
        )
    assert [p.name for p in tmp_path.glob('*.mp4')] == ['clip.mp4']


def test_frames_over_the_limit_are_refused(models, video, tmp_path):
    limits = replace(LIMITS, max_pixels=96 * 64 - 1)
    with pytest.raises(ImageTooLargeError, match=r'^Video clip\.avi has fram'):
        list(
            segment_video(
                *(models[0], str(video), 'semantic', 0.3, 0.5, limits),
                tmp_path / 'drawn.mp4',
                tmp_path / 'a.zip',
            )
        )


def test_without_a_readable_image_there_are_no_lines(models, photos, tmp_path):
    paths = [str(photos / 'text.png')]
    target = tmp_path / 'a.zip'
    list(segment_images(models[0], paths, 'semantic', 0, 0, LIMITS, target))
    with zipfile.ZipFile(target) as archive:
        assert archive.read('segments.jsonl') == b''


def test_videos_are_known_by_their_endings():
    assert split_videos(['a.png', 'b.MP4']) == (['a.png'], ['b.MP4'])
