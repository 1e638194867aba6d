"""The pipelines of the COCO config, on real and on drawn images."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.tasks import TASKS
from tests.pipeline_steps import step_of
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> Config:
    """The COCO config, which trains on 1024 x 1024 pixels."""
    init_default_scope('mmdet')
    return Config.fromfile(ROOT / 'configs/_base_/datasets/coco_panoptic.py')


@pytest.fixture(scope='module')
def demo_data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('pipelines') / 'demo'
    make_demo_data(folder, num_train=6, num_val=2, size=64, seed=1)
    return folder


@pytest.fixture
def real_data(shared_data) -> Path:
    return shared_data / 'coco_panoptic_mini'


def use_real_data(options: dict, folder: Path) -> dict:
    """Both splits from the one that there is."""
    options.update(
        data_root=str(folder),
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017', seg='annotations/panoptic_val2017'),
    )
    return options


def use_demo_data(options: dict, folder: Path, split: str) -> dict:
    options.update(
        data_root=str(folder),
        ann_file=f'annotations/panoptic_{split}.json',
        data_prefix=dict(img=split, seg=f'annotations/panoptic_{split}'),
    )
    # These classes are others, and stand in the JSON.
    options.pop('metainfo')
    return options


def annotations_of(folder: Path, split: str) -> dict[str, dict]:
    """Annotations by the names of their PNGs."""
    path = folder / f'annotations/panoptic_{split}.json'
    content = json.loads(path.read_text())
    return {
        annotation['file_name']: annotation
        for annotation in content['annotations']
    }


def ids_of(path: Path) -> np.ndarray:
    red, green, blue = np.moveaxis(
        np.asarray(Image.open(path)).astype(int), -1, 0
    )
    return red + 256 * green + 65536 * blue


def check_training_sample(data: dict, classes: tuple[str, ...]) -> None:
    """What the model may rely on, whatever was drawn."""
    sample, masks = data['data_samples'], data['data_samples'].gt_instances
    assert data['inputs'].shape == (3, *sample.img_shape)
    assert data['inputs'].dtype == torch.uint8
    assert sample.task in TASKS
    assert masks.masks.masks.shape == (len(masks), *sample.img_shape)
    assert masks.labels.dtype == torch.int64
    assert masks.masks.masks.max(initial=0) <= 1
    assert masks.masks.masks.any((1, 2)).all(), 'no mask is empty'
    assert masks.masks.masks.sum(0, dtype=int).max(initial=0) <= 1
    names = Counter(classes[label] for label in masks.labels)
    assert sample.texts == [
        f'a photo with a {name}'
        for name in classes
        for _ in range(names[name])
    ]
    if sample.task == 'semantic':
        assert set(names.values()) <= {1}
    article = 'an' if sample.task == 'instance' else 'a'
    assert sample.filler_text == f'{article} {sample.task} photo'
    assert 'gt_sem_seg' not in sample


def test_the_classes_of_coco_are_those_of_its_annotations(config, real_data):
    options = use_real_data(config.val_dataloader.dataset, real_data)
    content = json.loads((real_data / options['ann_file']).read_text())
    dataset = DATASETS.build(options)
    assert dataset.metainfo['classes'] == tuple(
        category['name'] for category in content['categories']
    )
    assert dataset.metainfo['thing_classes'] == tuple(
        category['name']
        for category in content['categories']
        if category['isthing']
    )
    assert len(dataset.metainfo['classes']) == 133
    assert dataset.metainfo['stuff_classes'] == config.stuff_classes


def test_training_samples_of_real_images_are_whole(config, real_data):
    options = use_real_data(config.train_dataloader.dataset, real_data)
    dataset = DATASETS.build(options)
    drawn = Counter()
    for index in [0, 1] * 6:
        data = dataset[index]
        check_training_sample(data, dataset.metainfo['classes'])
        assert data['data_samples'].img_shape == (1024, 1024)
        drawn[data['data_samples'].task] += 1
    assert set(drawn) == set(TASKS)


def test_masks_of_real_images_are_those_of_the_png(config, real_data):
    options = use_real_data(config.train_dataloader.dataset, real_data)
    # At this ratio the whole width fits, and nothing is cropped.
    step_of(options.pipeline, 'RandomFlip').prob = 1.0
    step_of(options.pipeline, 'LargeScaleJitter').ratio_range = (1.0, 1.0)
    step_of(options.pipeline, 'SampleTask').probs = dict(panoptic=1.0)
    dataset = DATASETS.build(options)
    sample = dataset[0]['data_samples']
    name = '000000142238.png'
    ids = ids_of(real_data / 'annotations/panoptic_val2017' / name)
    # 427 x 640 becomes 683 x 1024, mirrored.
    ids = np.asarray(
        Image.fromarray(ids[:, ::-1].astype(np.int32)).resize(
            (1024, 683), Image.Resampling.NEAREST
        )
    )
    segments = annotations_of(real_data, 'val2017')[name]['segments_info']
    segments = [s for s in segments if not s['iscrowd']]
    assert sample.flip is True
    assert len(sample.gt_instances) == len(segments) == 17
    for mask, segment in zip(
        sample.gt_instances.masks.masks, segments, strict=True
    ):
        assert (mask[:683] == (ids == segment['id'])).all()
        assert not mask[683:].any()


def test_pixels_of_real_images_are_those_of_pillow(config, real_data):
    options = use_real_data(config.train_dataloader.dataset, real_data)
    step_of(options.pipeline, 'RandomFlip').prob = 0.0
    step_of(options.pipeline, 'LargeScaleJitter').ratio_range = (0.5, 0.5)
    data = DATASETS.build(options)[0]
    image = Image.open(real_data / 'val2017/000000142238.jpg')
    # 427 x 640 becomes 342 x 512, as channels blue, green, red.
    image = image.resize((512, 342), Image.Resampling.BILINEAR)
    expected = np.asarray(image)[..., ::-1].transpose(2, 0, 1)
    assert (data['inputs'][:, :342, :512].numpy() == expected).all()
    assert (data['inputs'][:, 342:] == 128).all()
    assert (data['inputs'][:, :, 512:] == 128).all()


@pytest.mark.parametrize(
    ('index', 'ori_shape', 'img_shape'),
    # Long side at most 1333: 427 x 640 gives 800 x 1199 (1199.06), and
    # 360 x 640 would give 800 x 1422, so 750 (749.8) x 1333.
    [(0, (427, 640), (800, 1199)), (1, (360, 640), (750, 1333))],
)
def test_test_samples_have_the_size_of_the_network_and_of_the_image(
    config, real_data, index, ori_shape, img_shape
):
    options = use_real_data(config.val_dataloader.dataset, real_data)
    data = DATASETS.build(options)[index]
    sample = data['data_samples']
    assert data['inputs'].shape == (3, *img_shape)
    assert sample.img_shape == img_shape
    assert sample.ori_shape == ori_shape
    assert sample.gt_sem_seg.sem_seg.shape == (1, *ori_shape)
    assert 'task' not in sample, 'the model is asked for every task'


@pytest.mark.parametrize('index', [0, 1])
def test_test_samples_hold_the_annotation_of_coco(config, real_data, index):
    options = use_real_data(config.val_dataloader.dataset, real_data)
    dataset = DATASETS.build(options)
    classes = dataset.metainfo['classes']
    sample = dataset[index]['data_samples']
    name = f'{sample.img_id:012d}.png'
    segments = annotations_of(real_data, 'val2017')[name]['segments_info']
    # COCO states the area of every segment, and the class by its own id.
    assert [s['area'] for s in sample.segments_info] == [
        s['area'] for s in segments
    ]
    assert [s['iscrowd'] for s in sample.segments_info] == [
        bool(s['iscrowd']) for s in segments
    ]
    content = json.loads((real_data / options['ann_file']).read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    assert [classes[s['category']] for s in sample.segments_info] == [
        names[s['category_id']] for s in segments
    ]
    ids = ids_of(real_data / 'annotations/panoptic_val2017' / name)
    expected = np.full(ids.shape, 255)
    for segment in segments:
        label = classes.index(names[segment['category_id']])
        expected[ids == segment['id']] = label
    assert (sample.gt_sem_seg.sem_seg[0].numpy() == expected).all()


@pytest.mark.parametrize('index', [0, 1])
def test_instances_are_those_of_the_instance_file(config, real_data, index):
    options = use_real_data(config.val_dataloader.dataset, real_data)
    sample = DATASETS.build(options)[index]['data_samples']
    path = real_data / 'annotations/instances_val2017.json'
    expected = [
        (a['bbox'], int(a['area']), a['iscrowd'])
        for a in json.loads(path.read_text())['annotations']
        if a['image_id'] == sample.img_id
    ]
    found = []
    for instance in sample.instances:
        left, top, right, bottom = instance['bbox']
        found.append(
            (
                [left, top, right - left, bottom - top],
                int(coco_mask.area(instance['mask'])),
                instance['ignore_flag'],
            )
        )
    assert found == expected


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches_of_drawn_images_reach_the_training(
    config, demo_data, num_workers
):
    config = config.train_dataloader
    use_demo_data(config.dataset, demo_data, 'train')
    step_of(config.dataset.pipeline, 'LargeScaleJitter').size = (48, 80)
    config.num_workers = num_workers
    config.persistent_workers = num_workers > 0
    loader = Runner.build_dataloader(config, seed=0)
    classes = loader.dataset.metainfo['classes']
    assert classes == (
        *('disc', 'square', 'triangle', 'star'),
        *('sky', 'grass', 'wall', 'water'),
    )
    batches = iter(loader)
    for _ in range(6):  # more than one round of the six images
        batch = next(batches)
        assert len(batch['inputs']) == 2
        for inputs, sample in zip(
            batch['inputs'], batch['data_samples'], strict=True
        ):
            data = dict(inputs=inputs, data_samples=sample)
            check_training_sample(data, classes)
            assert sample.img_shape == (48, 80)


def test_drawn_images_have_the_ground_truth_they_were_drawn_with(
    config, demo_data
):
    config = config.val_dataloader
    use_demo_data(config.dataset, demo_data, 'val')
    config.num_workers, config.persistent_workers = 0, False
    annotations = annotations_of(demo_data, 'val')
    for batch in Runner.build_dataloader(config, seed=0):
        (sample,) = batch['data_samples']
        name = Path(sample.img_path).stem + '.png'
        annotation = annotations[name]
        assert sample.img_id == annotation['image_id']
        assert [s['area'] for s in sample.segments_info] == [
            s['area'] for s in annotation['segments_info']
        ]
        stored = np.asarray(
            Image.open(demo_data / 'annotations/semantic_val' / name)
        )
        # That file leaves crowds void.
        semantic = sample.gt_sem_seg.sem_seg[0].numpy()
        assert (semantic == stored)[stored < 255].all()
        assert batch['inputs'][0].shape == (3, 800, 800)


def test_a_turned_image_is_refused_rather_than_distorted(config, demo_data):
    options = use_demo_data(config.train_dataloader.dataset, demo_data, 'val')
    folder = demo_data / 'turned'
    folder.mkdir()
    for path in (demo_data / 'val').iterdir():
        image = Image.open(path)
        exif = image.getexif()
        exif[274] = 6  # orientation: a quarter turn
        image.crop((0, 0, 64, 40)).resize((64, 64)).save(
            folder / path.name, exif=exif
        )
    options.data_prefix['img'] = 'turned'
    assert DATASETS.build(options)[0], 'a square stays a square'
    for path in folder.iterdir():
        image = Image.open(path)
        image.crop((0, 0, 64, 40)).save(path, exif=image.getexif())
    with pytest.raises(ValueError, match=r'\(64, 40\).*, turned as its EXIF'):
        DATASETS.build(options)[0]
