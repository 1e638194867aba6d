"""Data as they come: trained on, or refused with the file and the remedy.

What the annotation files and single transforms do with such data is tested
in ``tests/datasets``; here they pass through loading, targets and losses.
"""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

from projects.oneformer.datasets import segments_dataset
from projects.oneformer.images import ImageError
from tests.model_configs import NUM_QUERIES, build_model, tiny_model
from tests.png_files import png_with_a_broken_chunk

META = dict(classes=('cat', 'sky'), thing_classes=('cat',))
ONE_CLASS = dict(classes=('cat',), thing_classes=('cat',))
SIZE = (64, 96)
CAT, SKY = 0, 1


def pipeline_for(task: str) -> list[dict]:
    keys = ('img_path', 'ori_shape', 'img_shape', 'task', 'texts')
    return [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='LoadSegments'),
        dict(type='SampleTask', probs={task: 1.0}),
        dict(type='TaskTargets'),
        dict(type='TaskTexts'),
        dict(
            type='PackDetInputs',
            meta_keys=(*keys, 'filler_text', 'unlabelled_classes'),
        ),
    ]


class Drawn:
    """Images with panoptic annotation, drawn for a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add(self, ids: np.ndarray, segments: list[dict]) -> Path:
        """Add an image, and return its path."""
        number = len(self.images)
        names = f'{number}.jpg', f'{number}.png'
        coded = np.stack([ids % 256, ids // 256, ids // 65536], -1)
        Image.fromarray(coded.astype(np.uint8)).save(self.root / names[1])
        noise = np.random.default_rng(number).integers(0, 255, (*SIZE, 3))
        Image.fromarray(noise.astype(np.uint8)).save(self.root / names[0])
        height, width = ids.shape
        self.images.append(
            dict(id=number, file_name=names[0], height=height, width=width)
        )
        self.annotations.append(
            dict(image_id=number, file_name=names[1], segments_info=segments)
        )
        return self.root / names[0]

    def read(self, task: str = 'panoptic', metainfo=META, **options):
        categories = [
            dict(id=label, name=name, isthing=int(name == 'cat'))
            for label, name in enumerate(META['classes'])
        ]
        content = dict(
            images=self.images,
            annotations=self.annotations,
            categories=categories,
        )
        (self.root / 'panoptic.json').write_text(json.dumps(content))
        init_default_scope('mmdet')
        return DATASETS.build(
            dict(
                type='OneFormerPanopticDataset',
                data_root=str(self.root),
                ann_file='panoptic.json',
                metainfo=metainfo,
                **dict(dict(pipeline=pipeline_for(task)), **options),
            )
        )


@pytest.fixture
def drawn(tmp_path) -> Drawn:
    return Drawn(tmp_path)


@pytest.fixture(scope='module')
def model():
    config = tiny_model()
    config.metainfo = META
    return build_model(config).train()


def empty() -> np.ndarray:
    return np.zeros(SIZE, int)


def segment(number: int, category: int, iscrowd: int = 0) -> dict:
    return dict(id=number, category_id=category, iscrowd=iscrowd)


def nothing_annotated() -> tuple:
    return empty(), []


def crowds_alone() -> tuple:
    ids = empty()
    ids[:30] = 3
    return ids, [segment(3, CAT, iscrowd=1)]


def a_segment_that_is_not_in_the_png() -> tuple:
    ids = empty()
    ids[:30] = 3
    return ids, [segment(3, CAT), segment(9, CAT)]


def one_pixel() -> tuple:
    ids = empty()
    ids[5, 7] = 3
    return ids, [segment(3, CAT)]


def more_objects_than_queries() -> tuple:
    number = NUM_QUERIES + 5
    ids = empty()
    ids[: 2 * number : 2] = np.arange(1, number + 1)[: SIZE[0] // 2, None]
    ids[:50:2, :] = np.arange(1, number + 1)[:, None]
    return ids, [segment(i, CAT) for i in range(1, number + 1)]


CASES = {
    nothing_annotated: 0,
    crowds_alone: 0,
    a_segment_that_is_not_in_the_png: 1,
    one_pixel: 1,
    more_objects_than_queries: NUM_QUERIES + 5,
}


@pytest.mark.parametrize('void', ['background', 'ignore'])
@pytest.mark.parametrize('case', CASES, ids=lambda case: case.__name__)
def test_training_takes(case, void, drawn, model):
    """One image alone in its batch, as the last of an epoch may be."""
    drawn.add(*case())
    sample = drawn.read(void=void)[0]
    assert len(sample['data_samples'].gt_instances) == CASES[case]
    model.zero_grad()
    batch = model.data_preprocessor(pseudo_collate([sample]), True)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    sum(losses.values()).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name
    assert losses['loss_contrastive'] == 0  # there is no other picture
    if void == 'background':  # else there may be no point on a labelled pixel
        assert (losses['loss_mask'] > 0) == bool(CASES[case])


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_training_takes_one_class(task, drawn):
    ids = empty()
    ids[:30, :40], ids[40:, 50:] = 3, 4
    drawn.add(ids, [segment(3, CAT), segment(4, CAT)])
    config = tiny_model()
    config.metainfo = ONE_CLASS
    model = build_model(config).train()
    sample = drawn.read(task, metainfo=ONE_CLASS)[0]
    batch = model.data_preprocessor(pseudo_collate([sample] * 2), True)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    assert all(torch.isfinite(loss) for loss in losses.values())
    masks = 1 if task == 'semantic' else 2
    assert len(sample['data_samples'].gt_instances) == masks


# ----------------------------------------------------------------- skipping


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What is logged as a warning."""
    logged = []

    def log(level: int, message: str) -> None:
        if level == 30:
            logged.append(message)

    monkeypatch.setattr(MMLogger.get_current_instance(), 'log', log)
    return logged


@pytest.fixture
def one_of_two_is_cut(drawn) -> Drawn:
    """Two images; the download of the second stopped half way."""
    drawn.add(*one_pixel())
    path = drawn.add(*one_pixel())
    path.write_bytes(path.read_bytes()[:900])
    return drawn


def test_an_image_that_is_cut_stops_the_training_by_name(one_of_two_is_cut):
    with pytest.raises(OSError) as caught:
        one_of_two_is_cut.read()[1]
    assert '1.jpg cannot be read' in str(caught.value)
    assert 'Restore the file, or take it out' in str(caught.value)


def test_it_may_be_skipped_counted_and_logged(one_of_two_is_cut, warnings):
    dataset = one_of_two_is_cut.read(skip_unreadable=True)
    for _ in range(3):
        path = dataset[1]['data_samples'].img_path
        assert Path(path).name == '0.jpg'
    assert dataset.skipped >= 3
    assert len(warnings) == dataset.skipped <= 10
    assert warnings[0].startswith('Skipped an image, number 1 of this proc')
    assert '1.jpg cannot be read' in warnings[0]


def test_a_damaged_png_is_skipped_too(drawn, warnings):
    drawn.add(*one_pixel())
    path = drawn.add(*one_pixel()).with_suffix('.png')
    path.write_bytes(path.read_bytes()[:40])
    dataset = drawn.read(skip_unreadable=True)
    assert Path(dataset[1]['data_samples'].img_path).name == '0.jpg'
    assert '1.png cannot be read as a PNG' in warnings[0]


OURS = dict(type='LoadImageFromFile', _scope_='projects.oneformer')
STOCK = dict(type='LoadImageFromFile', imdecode_backend='pillow')
OPENCV = dict(type='LoadImageFromFile', imdecode_backend='cv2')


def png(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, 'PNG', **options)
    return stream.getvalue()


UNREADABLE = dict(
    empty=b'',
    text=b'no picture',
    broken_chunk=png_with_a_broken_chunk(
        np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    ),
    damaged_exif=png(Image.new('L', SIZE[::-1]), exif=b'Exif\0\0nonsense'),
    huge=png(Image.new('1', (14000, 14000))),
)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('reader', [OURS, STOCK], ids=['ours', 'mmcv'])
@pytest.mark.parametrize('kind', UNREADABLE)
def test_every_kind_of_damage_is_named_and_can_be_skipped(
    kind, reader, drawn, warnings
):
    drawn.add(*one_pixel())
    path = drawn.add(*one_pixel())
    path.write_bytes(UNREADABLE[kind])
    pipeline = [reader, *pipeline_for('panoptic')[1:]]
    with pytest.raises(ImageError, match=re.escape(f'Image {path} cannot')):
        drawn.read(pipeline=pipeline)[1]
    dataset = drawn.read(pipeline=pipeline, skip_unreadable=True)
    assert Path(dataset[1]['data_samples'].img_path).name == '0.jpg'
    assert str(path) in warnings[0]


@pytest.mark.parametrize('content', [b'', b'no picture'])
def test_what_opencv_cannot_read_is_named_too(content, drawn, warnings):
    path = drawn.add(*one_pixel())
    path.write_bytes(content)
    pipeline = [OPENCV, *pipeline_for('panoptic')[1:]]
    with pytest.raises(ImageError, match=re.escape(f'Image {path} cannot')):
        drawn.read(pipeline=pipeline)[0]


def test_an_image_too_thin_to_be_resized_is_named(drawn, warnings):
    drawn.add(*one_pixel())
    path = drawn.add(*one_pixel())
    Image.new('L', (3000, 1)).save(path)
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    pipeline = [OURS, dict(resize, backend='pillow')]
    with pytest.raises(ValueError, match=re.escape(f'Image {path}: ')):
        drawn.read(pipeline=pipeline)[1]
    dataset = drawn.read(pipeline=pipeline, skip_unreadable=True)
    assert Path(dataset[1]['img_path']).name == '0.jpg'


def test_a_transform_that_fails_names_the_image_and_is_not_skipped(drawn):
    path = drawn.add(*one_pixel())
    pipeline = [OURS, dict(type='TaskTexts')]  # no task, no targets
    dataset = drawn.read(pipeline=pipeline, skip_unreadable=True)
    message = re.escape(f'A transform fails on image {path}: KeyError')
    with pytest.raises(RuntimeError, match=message):
        dataset[0]


def test_nothing_is_skipped_in_a_test(one_of_two_is_cut):
    dataset = one_of_two_is_cut.read(skip_unreadable=True, test_mode=True)
    with pytest.raises(OSError, match='1.jpg cannot be read'):
        dataset[1]


def test_training_stops_if_nothing_can_be_read(drawn, warnings):
    for _ in range(2):
        drawn.add(*one_pixel()).write_bytes(b'no picture')
    dataset = drawn.read(skip_unreadable=True)
    with pytest.raises(OSError, match='cannot be read'):
        dataset[0]
    assert dataset.skipped == 20
    assert len(warnings) == 10


def test_later_messages_come_every_so_often(drawn, warnings, monkeypatch):
    monkeypatch.setattr(segments_dataset, '_FIRST_MESSAGES', 2)
    monkeypatch.setattr(segments_dataset, '_MESSAGE_INTERVAL', 5)
    drawn.add(*one_pixel()).write_bytes(b'no picture')
    dataset = drawn.read(skip_unreadable=True)
    with pytest.raises(OSError):
        dataset[0]
    numbers = [text.split(' of this')[0].split()[-1] for text in warnings]
    assert numbers == ['1', '2', '5', '10', '15', '20']
