"""The converter of ADE20K, on drawn and on real images."""

import shutil
from pathlib import Path

import ade20k
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask

from projects.oneformer.datasets import (
    EvalTargets,
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from tests.dataset_converters.files import (
    files_of,
    read_ids,
    read_json,
    read_png,
    write_png,
)

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'

# Class + 1: 1 wall, 3 sky, 7 road (stuff); 8 bed, 13 person, 21 car (things).
SEMANTIC = [
    [1, 1, 3, 0],
    [1, 13, 13, 0],
    [7, 13, 13, 21],
]
# Bed is the first thing and person the fourth; R of other pixels is unused.
INSTANCE_CLASS = [
    [9, 0, 4, 1],
    [0, 4, 4, 0],
    [0, 4, 4, 0],
]
INSTANCE = [
    [0, 0, 2, 3],
    [0, 1, 2, 0],
    [0, 1, 2, 0],
]
# A person lies over the sky, the bed over nothing; the car has no instance.
PANOPTIC = [
    [1, 1, 13 + 2 * 256, 8 + 3 * 256],
    [1, 13 + 256, 13 + 2 * 256, 0],
    [7, 13 + 256, 13 + 2 * 256, 0],
]
SEGMENTS = [
    dict(id=1, category_id=0, area=3, bbox=[0, 0, 2, 2], iscrowd=0),
    dict(id=7, category_id=6, area=1, bbox=[0, 2, 1, 1], iscrowd=0),
    dict(id=269, category_id=12, area=2, bbox=[1, 1, 1, 2], iscrowd=0),
    dict(id=525, category_id=12, area=3, bbox=[2, 0, 1, 3], iscrowd=0),
    dict(id=776, category_id=7, area=1, bbox=[3, 0, 1, 1], iscrowd=0),
]


def add_image(root: Path, folder: str, name: str, label=SEMANTIC) -> None:
    """Add an image with labels as the releases have them."""
    height, width = np.shape(label)
    image = root / 'images' / folder / f'{name}.jpg'
    write_png(image, np.zeros((height, width, 3)))
    write_png(root / 'annotations' / folder / f'{name}.png', label)
    rgb = np.stack([INSTANCE_CLASS, INSTANCE, np.zeros((3, 4))], -1)
    if label is not SEMANTIC:
        rgb = np.zeros((height, width, 3))
    write_png(root / 'annotations_instance' / folder / f'{name}.png', rgb)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three training images and one to validate on."""
    folder = tmp_path / 'ADEChallengeData2016'
    add_image(folder, 'training', 'ADE_train_1')
    add_image(folder, 'training', 'ADE_train_2', [[3, 3], [150, 0]])
    add_image(folder, 'training', 'ADE_train_3')
    add_image(folder, 'validation', 'ADE_val_1')
    return folder


def test_instances_are_pasted_over_stuff(root, convert):
    assert convert('ade20k', root).code == 0
    png = root / 'ade20k_panoptic_train' / 'ADE_train_1.png'
    assert read_ids(png) == PANOPTIC
    # Red is the class + 1, green the number of the instance.
    assert read_png(png)[0, 2].tolist() == [13, 2, 0]
    content = read_json(root / 'ade20k_panoptic_train.json')
    assert content['images'][0] == dict(
        id='ADE_train_1', file_name='ADE_train_1.jpg', width=4, height=3
    )
    assert content['annotations'][0] == dict(
        image_id='ADE_train_1',
        file_name='ADE_train_1.png',
        segments_info=SEGMENTS,
    )


def test_stuff_that_instances_hide_is_no_segment(root, convert):
    convert('ade20k', root)
    content = read_json(root / 'ade20k_panoptic_val.json')
    (annotation,) = content['annotations']
    classes = {s['category_id'] for s in annotation['segments_info']}
    assert classes == {0, 6, 12, 7}  # no sky, which was below a person


def test_an_image_without_instances_is_stuff_only(root, convert):
    convert('ade20k', root)
    png = root / 'ade20k_panoptic_train' / 'ADE_train_2.png'
    assert read_ids(png) == [[3, 3], [0, 0]]  # 150, a flag, is a thing


def test_semantic_labels_start_at_0_and_255_is_void(root, convert):
    convert('ade20k', root)
    folder = root / 'annotations_detectron2'
    assert read_png(folder / 'validation' / 'ADE_val_1.png').tolist() == [
        [0, 0, 2, 255],
        [0, 12, 12, 255],
        [6, 12, 12, 20],
    ]
    last = read_png(folder / 'training' / 'ADE_train_2.png')
    assert last.dtype == np.uint8
    assert last.tolist() == [[2, 2], [149, 255]]


def test_instances_are_numbered_from_one_over_all_images(root, convert):
    convert('ade20k', root)
    content = read_json(root / 'ade20k_instance_train.json')
    assert [a['id'] for a in content['annotations']] == [1, 2, 3, 4, 5, 6]
    assert [a['image_id'] for a in content['annotations']] == [
        *['ADE_train_1'] * 3,
        *['ADE_train_3'] * 3,
    ]
    person = content['annotations'][1]
    assert person['category_id'] == 12
    assert (person['area'], person['bbox']) == (3, [2, 0, 1, 3])
    assert coco_mask.decode(person['segmentation']).tolist() == [
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
    ]
    assert content['images'][1]['id'] == 'ADE_train_2'


def test_categories_have_the_place_in_the_class_list_for_id(root, convert):
    convert('ade20k', root, '--splits', 'val')
    categories = read_json(root / 'ade20k_panoptic_val.json')['categories']
    assert [c['id'] for c in categories] == list(range(150))
    assert categories[8] == dict(id=8, name='window ', isthing=1)
    assert sum(c['isthing'] for c in categories) == 100
    things = read_json(root / 'ade20k_instance_val.json')['categories']
    assert things[0] == dict(id=7, name='bed')
    assert [c['id'] for c in things] == [
        c['id'] for c in categories if c['isthing']
    ]


def test_class_names_are_those_of_the_configs(mmdet_scope):
    paths = [*CONFIGS.glob('*ade20k*.py')]
    assert paths
    for path in paths:
        loader = Config.fromfile(path).train_dataloader
        metainfo = loader.dataset.metainfo
        assert tuple(metainfo['classes']) == ade20k.CLASSES
        assert tuple(metainfo['thing_classes']) == tuple(
            ade20k.CLASSES[index] for index in ade20k.THINGS
        )


def test_only_the_splits_asked_for_are_made(root, convert):
    convert('ade20k', root, '--splits', 'val')
    assert (root / 'ade20k_instance_val.json').exists()
    assert not (root / 'ade20k_panoptic_train.json').exists()
    assert not (root / 'annotations_detectron2' / 'training').exists()


def test_the_dataset_reads_what_is_made(root, convert, mmdet_scope):
    convert('ade20k', root)
    dataset = OneFormerPanopticDataset(
        data_root=str(root),
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training', seg='ade20k_panoptic_train'),
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            LoadPanopticSegments(),
            EvalTargets(),
        ],
    )
    assert dataset.metainfo['classes'] == ade20k.CLASSES
    data = dataset[0]
    assert data['gt_seg_map'].tolist() == [
        [0, 0, 12, 7],
        [0, 12, 12, 255],
        [6, 12, 12, 255],
    ]
    assert len(data['instances']) == 3


@pytest.mark.parametrize('split', ['train', 'val'])
def test_real_images_agree_with_their_published_annotations(
    tmp_path, shared_data, convert, split
):
    source = shared_data / 'ade20k_mini' / 'ADEChallengeData2016'
    for name in ('images', 'annotations', 'annotations_instance'):
        shutil.copytree(source / name, tmp_path / name)
    result = convert('ade20k', tmp_path, '--splits', split, '--allow-missing')
    assert result.code == 0
    ours, theirs = (
        read_json(folder / f'ade20k_panoptic_{split}.json')
        for folder in (tmp_path, source)
    )
    assert ours['images'] == theirs['images']
    for mine, other in zip(
        ours['annotations'], theirs['annotations'], strict=True
    ):
        assert without_ids(mine) == without_ids(other)
        names = {s['id']: key_of(s) for s in other['segments_info']}
        png = f'ade20k_panoptic_{split}/{other["file_name"]}'
        expected = np.array(read_ids(source / png))
        got = np.array(read_ids(tmp_path / png))
        assert ((got == 0) == (expected == 0)).all()
        for segment in mine['segments_info']:
            (number,) = np.unique(expected[got == segment['id']])
            assert names[number] == key_of(segment)
    instances = [
        read_json(folder / f'ade20k_instance_{split}.json')['annotations']
        for folder in (tmp_path, source)
    ]
    masks = [
        sorted((a['image_id'], a['segmentation']['counts']) for a in part)
        for part in instances
    ]
    assert masks[0] == masks[1]


def key_of(segment: dict) -> tuple:
    return segment['category_id'], segment['area'], tuple(segment['bbox'])


def without_ids(annotation: dict) -> tuple:
    segments = sorted(map(key_of, annotation['segments_info']))
    return annotation['image_id'], annotation['file_name'], segments


# ------------------------------------------------------ what users get wrong


def test_a_missing_release_is_told_with_where_to_get_it(root, convert):
    shutil.rmtree(root / 'annotations_instance')
    result = convert('ade20k', root)
    assert result.code == 1
    assert 'lacks the folders [' in result.error
    assert 'annotations_instance.tar' in result.error


def test_images_without_instance_file_are_told(root, convert):
    path = root / 'annotations_instance/training/ADE_train_2.png'
    path.unlink()
    result = convert('ade20k', root)
    assert result.code == 1
    assert '1 of 3 images have no instances' in result.error
    assert str(path) in result.error
    assert '--allow-missing' in result.error
    assert not [*root.glob('*.json*')]


def test_images_without_instance_file_can_be_left_out(root, convert):
    (root / 'annotations_instance/training/ADE_train_2.png').unlink()
    assert convert('ade20k', root, '--allow-missing').code == 0
    images = read_json(root / 'ade20k_panoptic_train.json')['images']
    assert [i['id'] for i in images] == ['ADE_train_1', 'ADE_train_3']
    semantic = root / 'annotations_detectron2' / 'training'
    assert (semantic / 'ADE_train_2.png').exists()


BROKEN = {
    'annotations/training/ADE_train_1.png': [
        (np.full((3, 4), 151), 'has the value 151: expected 0 to 150'),
        (np.ones((3, 4, 3)), 'expected a grey image with 8 bits'),
        (np.ones((3, 5)), 'Expected one size (height, width)'),
    ],
    'annotations_instance/training/ADE_train_1.png': [
        (np.ones((3, 4)), 'expected an RGB image with 8 bits'),
        (np.full((3, 4, 3), 101), 'has the instance class 101 in red'),
        (np.dstack([INSTANCE] * 3) * [0, 1, 1], 'of several classes, or of'),
        (
            np.dstack([SEMANTIC, np.ones((3, 4)), SEMANTIC]),
            'of several classes, or of none',
        ),
    ],
}


@pytest.mark.parametrize(
    ('name', 'values', 'message'),
    [(name, *case) for name, cases in BROKEN.items() for case in cases],
)
def test_a_wrong_label_is_named(root, convert, name, values, message):
    write_png(root / name, values)
    result = convert('ade20k', root)
    assert result.code == 1
    assert str(root / name) in result.error
    assert message in result.error
    assert not (root / 'ade20k_panoptic_train.json').exists()


@pytest.mark.parametrize(
    'damage', [lambda x: x[: len(x) // 2], lambda x: b'', lambda x: b'no PNG']
)
def test_a_damaged_file_is_named(root, convert, damage):
    path = root / 'annotations_instance/training/ADE_train_3.png'
    path.write_bytes(damage(path.read_bytes()))
    result = convert('ade20k', root)
    assert result.code == 1
    assert f'{path} cannot be read as an image' in result.error
    assert 'unpack the download again' in result.error


# --------------------------------------------------------------- going on


def interrupt(monkeypatch, name: str, error: type[BaseException]) -> None:
    """Let a run end when it writes the panoptic PNG ``name``."""
    write_ids = ade20k.write_ids

    def interrupted(path, ids):
        if path.name == name:
            path.with_name(f'.{name}.part').touch()
            raise error
        write_ids(path, ids)

    monkeypatch.setattr(ade20k, 'write_ids', interrupted)


def test_an_interrupted_run_goes_on_where_it_stopped(
    root, tmp_path, convert, monkeypatch
):
    whole = tmp_path / 'whole'
    shutil.copytree(root, whole)
    convert('ade20k', whole)

    with monkeypatch.context() as patch:
        interrupt(patch, 'ADE_train_2.png', KeyboardInterrupt)
        result = convert('ade20k', root)
    assert result.code == 130
    assert 'goes on where it stopped' in result.error
    assert not (root / 'ade20k_panoptic_train.json').exists()
    first = root / 'ade20k_panoptic_train' / 'ADE_train_1.png'
    before = first.stat().st_mtime_ns

    result = convert('ade20k', root)
    assert result.code == 0
    assert 'train: panoptic and instances [##########' in result.out
    assert '] 1/3' in result.out and '] 0/3' in result.out  # semantic: 0/3
    assert first.stat().st_mtime_ns == before
    assert files_of(root) == files_of(whole)


def test_a_killed_run_goes_on_where_it_stopped(
    root, tmp_path, convert, monkeypatch
):
    whole = tmp_path / 'whole'
    shutil.copytree(root, whole)
    convert('ade20k', whole)
    with monkeypatch.context() as patch:
        interrupt(patch, 'ADE_train_3.png', OSError)
        assert convert('ade20k', root).code == 1
    # The kill came while the second line was written.
    journal = root / 'ade20k_panoptic_train.json.part'
    journal.write_text(journal.read_text()[:-20])
    assert convert('ade20k', root).code == 0
    assert files_of(root) == files_of(whole)


def test_an_image_that_vanished_in_between_is_made_again(
    root, tmp_path, convert, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt(patch, 'ADE_train_2.png', OSError)
        convert('ade20k', root)
    (root / 'ade20k_panoptic_train' / 'ADE_train_1.png').unlink()
    assert convert('ade20k', root).code == 0
    png = root / 'ade20k_panoptic_train' / 'ADE_train_1.png'
    assert read_ids(png) == PANOPTIC


def test_what_is_there_is_kept(root, convert):
    convert('ade20k', root)
    before = files_of(root)
    write_png(root / 'annotations/validation/ADE_val_1.png', [[1] * 4] * 3)
    result = convert('ade20k', root)
    assert result.code == 0
    assert result.out.count('there already, kept') == 4
    after = files_of(root)
    after['annotations/validation/ADE_val_1.png'] = before[
        'annotations/validation/ADE_val_1.png'
    ]
    assert after == before


def test_overwrite_makes_everything_again(root, convert):
    convert('ade20k', root)
    write_png(root / 'annotations/validation/ADE_val_1.png', [[1] * 4] * 3)
    assert convert('ade20k', root, '--overwrite').code == 0
    semantic = root / 'annotations_detectron2/validation/ADE_val_1.png'
    assert read_png(semantic).max() == 0
    content = read_json(root / 'ade20k_panoptic_val.json')
    segments = content['annotations'][0]['segments_info']
    assert segments[0] == dict(
        id=1, category_id=0, area=6, bbox=[0, 0, 4, 3], iscrowd=0
    )


def test_what_another_program_began_is_not_touched(root, convert):
    foreign = root / 'ade20k_panoptic_train' / 'mine.png'
    write_png(foreign, [[1]])
    before = files_of(root)
    result = convert('ade20k', root)
    assert result.code == 1
    assert f'{foreign.parent} exists' in result.error
    assert '--overwrite' in result.error
    assert files_of(root) == before
    assert convert('ade20k', root, '--overwrite').code == 0


def test_an_instance_file_alone_is_not_touched(root, convert):
    (root / 'ade20k_instance_train.json').write_text('{}')
    result = convert('ade20k', root)
    assert result.code == 1
    assert 'ade20k_panoptic_train.json does not' in result.error
    assert (root / 'ade20k_instance_train.json').read_text() == '{}'
