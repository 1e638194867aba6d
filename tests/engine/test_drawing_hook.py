"""Results of a test run become images."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from PIL import Image

from projects.oneformer.engine import ResultDrawingHook

CLASSES = ('sky', 'cat')


def sample_of(path, img_id, **results) -> DetDataSample:
    sample = DetDataSample(
        metainfo=dict(img_path=str(path), img_id=img_id, ori_shape=(300, 400))
    )
    for field, value in results.items():
        data = torch.full((1, 300, 400), value)
        setattr(sample, field, PixelData(sem_seg=data))
    return sample


@pytest.fixture
def draw(tmp_path):
    """Draw some samples and return the names of the files."""
    runner = SimpleNamespace(
        test_evaluator=SimpleNamespace(
            dataset_meta=dict(classes=CLASSES, thing_classes=['cat'])
        )
    )

    def run(*samples) -> list[str]:
        hook = ResultDrawingHook(str(tmp_path / 'out'))
        hook.after_test_iter(runner, 0, {}, samples)
        return sorted(path.name for path in (tmp_path / 'out').iterdir())

    return run


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a.png'
    pixels = np.full((300, 400, 3), (200, 10, 10), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_each_result_is_drawn_and_named_after_its_task(draw, image):
    sample = sample_of(image, 'a', pred_sem_seg=0, pred_panoptic_seg=1)
    assert draw(sample) == ['a_panoptic.png', 'a_semantic.png']


def test_images_of_one_name_are_drawn_apart(draw, tmp_path):
    samples = []
    for folder in ('first', 'second'):
        path = tmp_path / folder / 'x.png'
        path.parent.mkdir()
        Image.new('L', (400, 300)).save(path)
        samples.append(sample_of(path, f'{folder}/x', pred_sem_seg=0))
    assert draw(*samples) == [
        'x_first_x_semantic.png',
        'x_second_x_semantic.png',
    ]


def test_an_image_without_any_segment_is_drawn_as_it_is(draw, image, tmp_path):
    assert draw(sample_of(image, 'a', pred_panoptic_seg=len(CLASSES)))
    drawing = cv2.imread(str(tmp_path / 'out' / 'a_panoptic.png'))
    assert drawing.shape == (300, 400, 3)
    # Channels in the order of the file; drawing may darken.
    blue, _, red = drawing.reshape(-1, 3).mean(0)
    assert red > 4 * blue


def test_images_of_one_name_do_not_overwrite_each_other(draw, image):
    samples = [sample_of(image, i, pred_sem_seg=0) for i in (1, 2)]
    assert draw(*samples) == ['a_1_semantic.png', 'a_2_semantic.png']
