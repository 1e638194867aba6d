"""The drawn data set: what its files promise each other and the reader."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tools.misc import make_demo_data as demo
from tools.misc.make_demo_data import make_demo_data

SPLITS = {'train': 24, 'val': 6}
THING_IDS = {1, 2, 3, 4}
STUFF_IDS = {5, 6, 7, 8}


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('demo') / 'data'
    make_demo_data(folder, num_train=24, num_val=6, size=96, seed=3)
    return folder


@pytest.fixture(scope='module', params=SPLITS)
def split(request) -> str:
    return request.param


def read_json(root: Path, kind: str, split: str) -> dict:
    return json.loads(
        (root / 'annotations' / f'{kind}_{split}.json').read_text()
    )


def read_png(root: Path, kind: str, split: str, name: str) -> np.ndarray:
    path = root / 'annotations' / f'{kind}_{split}' / name
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def read_ids(root: Path, split: str, name: str) -> np.ndarray:
    blue, green, red = np.moveaxis(
        read_png(root, 'panoptic', split, name).astype(int), -1, 0
    )
    return red + 256 * green + 65536 * blue


def all_segments(root: Path) -> list[list[dict]]:
    return [
        picture['segments_info']
        for split in SPLITS
        for picture in read_json(root, 'panoptic', split)['annotations']
    ]


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in 'ab':
        make_demo_data(tmp_path / name, 2, 1, size=64, seed=5)
    assert files_of(tmp_path / 'a') == files_of(tmp_path / 'b')


def test_another_seed_gives_other_images(tmp_path):
    for seed in (1, 2):
        make_demo_data(tmp_path / str(seed), 1, 1, size=64, seed=seed)
    first, second = (files_of(tmp_path / name) for name in '12')
    for name in ('train/000001.jpg', 'val/000002.jpg'):
        assert first[name] != second[name]


def test_more_images_leave_the_first_ones_as_they_are(tmp_path):
    make_demo_data(tmp_path / 'few', 1, 1, size=64, seed=0)
    make_demo_data(tmp_path / 'more', 2, 1, size=64, seed=0)
    few, more = files_of(tmp_path / 'few'), files_of(tmp_path / 'more')
    assert few['train/000001.jpg'] == more['train/000001.jpg']


def test_a_test_split_leaves_the_others_as_they_are(tmp_path):
    make_demo_data(tmp_path / 'two', 2, 1, size=64)
    make_demo_data(tmp_path / 'three', 2, 1, size=64, num_test=2)
    two, three = (files_of(tmp_path / name) for name in ('two', 'three'))
    assert two.items() <= three.items()
    names = {'test/000004.jpg', 'test/000005.jpg'}
    assert {name for name in three if name.startswith('test/')} == names
    assert len({three[name] for name in three if name.endswith('.jpg')}) == 5


def test_hard_things_are_smaller_and_of_any_hue():
    rng = np.random.default_rng(0)
    things = {
        difficulty: [
            demo._place_thing(rng, [], difficulty) for _ in range(300)
        ]
        for difficulty in (demo.EASY, demo.HARD)
    }
    easy, hard = (
        np.array([thing.radius for thing in own]) for own in things.values()
    )
    assert 7.5 <= hard.min() < 9 and 12 <= easy.min() < 14
    disc = demo.Thing(label=0, x=64, y=64, radius=20, angle=0)
    hues = np.array(
        [disc._hue(rng, demo.HARD.odd_hue_share) for _ in range(600)]
    )
    shares = np.histogram(hues, bins=4, range=(0, 360))[0] / len(hues)
    # The deviation of each share is 0.018.
    assert abs(shares - 0.25).max() < 0.08


def test_every_image_is_there_at_the_size_asked_for(root, split):
    images = read_json(root, 'panoptic', split)['images']
    assert len(images) == SPLITS[split]
    assert len(list((root / split).iterdir())) == SPLITS[split]
    for image in images:
        picture = cv2.imread(str(root / split / image['file_name']))
        assert picture.shape == (96, 96, 3)
        assert (image['height'], image['width']) == (96, 96)


def test_no_image_id_is_in_both_splits(root):
    ids = [
        {image['id'] for image in read_json(root, 'panoptic', split)['images']}
        for split in SPLITS
    ]
    assert ids[0].isdisjoint(ids[1])


def test_things_come_first_in_the_categories(root, split):
    categories = read_json(root, 'panoptic', split)['categories']
    assert [c['isthing'] for c in categories] == [1] * 4 + [0] * 4
    assert [c['id'] for c in categories] == list(range(1, 9))
    assert len({c['name'] for c in categories}) == 8
    things = read_json(root, 'instances', split)['categories']
    assert things == categories[:4]


def test_an_image_has_two_to_six_things_and_two_to_four_kinds_of_stuff(root):
    for segments in all_segments(root):
        kinds = Counter(
            s['category_id'] in THING_IDS for s in segments if not s['iscrowd']
        )
        assert 2 <= kinds[True] <= 6
        assert 2 <= kinds[False] <= 4


def test_every_class_is_in_the_training_images(root):
    seen = {s['category_id'] for p in all_segments(root) for s in p}
    assert seen == THING_IDS | STUFF_IDS


def test_a_class_of_stuff_is_one_segment(root):
    for segments in all_segments(root):
        stuff = [
            s['category_id'] for s in segments if s['category_id'] in STUFF_IDS
        ]
        assert len(stuff) == len(set(stuff))


def test_crowds_and_void_are_in_some_images_but_not_in_most(root):
    pictures = all_segments(root)
    crowds = [p for p in pictures if any(s['iscrowd'] for s in p)]
    voids = [p for p in pictures if sum(s['area'] for s in p) < 96 * 96]
    assert 0 < len(crowds) < len(pictures) / 2
    assert 0 < len(voids) < len(pictures) / 2
    for segment in (s for p in crowds for s in p if s['iscrowd']):
        assert segment['category_id'] in THING_IDS


def test_the_png_holds_exactly_the_segments_of_the_json(root, split):
    for picture in read_json(root, 'panoptic', split)['annotations']:
        ids = read_ids(root, split, picture['file_name'])
        listed = [s['id'] for s in picture['segments_info']]
        assert len(listed) == len(set(listed))
        assert set(listed) == set(np.unique(ids)) - {0}


def test_area_and_box_are_those_of_the_pixels(root, split):
    for picture in read_json(root, 'panoptic', split)['annotations']:
        ids = read_ids(root, split, picture['file_name'])
        for segment in picture['segments_info']:
            mask = (ids == segment['id']).astype(np.uint8)
            assert segment['area'] == cv2.countNonZero(mask)
            assert segment['bbox'] == list(cv2.boundingRect(mask))


def test_every_thing_can_be_seen(root):
    # 30 pixels of an image with 128 x 128 pixels.
    least = 30 * (96 / 128) ** 2
    for segments in all_segments(root):
        assert min(s['area'] for s in segments) >= least


def test_things_hide_parts_of_each_other():
    grid = demo.Grid(*np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5))
    behind = demo.Thing(label=1, x=50, y=60, radius=20, angle=0)
    assert behind.area(grid) == pytest.approx(800)  # diagonal 40
    assert (behind.distance(grid) <= 0).sum() == pytest.approx(800, rel=0.05)

    image = np.zeros((128, 128, 3))
    hidden = 0
    for seed in range(5):
        segments = []
        things = demo._paint_things(
            np.random.default_rng(seed), image, grid, segments, demo.EASY
        )
        for thing, segment in zip(things, segments, strict=True):
            alone = thing.distance(grid) <= 0
            assert not (segment.mask & ~alone).any()
            assert segment.mask.sum() >= 0.25 * thing.area(grid)
            hidden += segment.mask.sum() < alone.sum()
    assert hidden > 2


def test_the_semantic_png_follows_from_the_panoptic_one(root, split):
    for picture in read_json(root, 'panoptic', split)['annotations']:
        ids = read_ids(root, split, picture['file_name'])
        expected = np.full(ids.shape, 255)
        for segment in picture['segments_info']:
            expected[ids == segment['id']] = segment['category_id'] - 1
        semantic = read_png(root, 'semantic', split, picture['file_name'])
        assert semantic.dtype == np.uint8
        np.testing.assert_array_equal(semantic, expected)


def test_the_instances_follow_from_the_panoptic_png(root, split):
    instances = read_json(root, 'instances', split)
    panoptic = read_json(root, 'panoptic', split)
    assert instances['images'] == panoptic['images']
    remaining = instances['annotations']
    assert len({a['id'] for a in remaining}) == len(remaining)
    for picture in panoptic['annotations']:
        ids = read_ids(root, split, picture['file_name'])
        things = [
            s
            for s in picture['segments_info']
            if s['category_id'] in THING_IDS
        ]
        own, remaining = remaining[: len(things)], remaining[len(things) :]
        for annotation, segment in zip(own, things, strict=True):
            assert annotation['image_id'] == picture['image_id']
            for key in ('category_id', 'area', 'bbox', 'iscrowd'):
                assert annotation[key] == segment[key]
            np.testing.assert_array_equal(
                coco_mask.decode(annotation['segmentation']),
                ids == segment['id'],
            )
    assert not remaining


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / 'mine').mkdir()
    with pytest.raises(FileExistsError, match='--force'):
        make_demo_data(tmp_path / 'mine', 1, 1)
    assert not list((tmp_path / 'mine').iterdir())


def test_force_replaces_an_earlier_data_set(tmp_path):
    make_demo_data(tmp_path / 'data', 2, 1, size=64)
    make_demo_data(tmp_path / 'data', 1, 1, size=64, force=True)
    assert len(list((tmp_path / 'data' / 'train').iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_force_does_not_replace_any_other_folder(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').touch()
    with pytest.raises(FileExistsError, match='not made by this tool'):
        make_demo_data(tmp_path / 'mine', 1, 1, force=True)
    assert (tmp_path / 'mine' / 'thesis.tex').exists()


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error):
    write_image = demo._write_image

    def interrupted(path, image):
        write_image(path, image)
        if '_val' in path.parent.name:
            raise error

    monkeypatch.setattr(demo, '_write_image', interrupted)
    with pytest.raises(error):
        make_demo_data(tmp_path / 'data', 1, 1, size=64)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_replacement_leaves_the_earlier_data_set(
    tmp_path, monkeypatch
):
    make_demo_data(tmp_path / 'data', 1, 1, size=64)
    before = files_of(tmp_path)

    def interrupted(path, image):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, '_write_image', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / 'data', 1, 1, seed=1, force=True)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    'wrong',
    [
        *(dict(num_train=0), dict(num_val=0), dict(num_test=-1)),
        *(dict(size=32), dict(seed=-1)),
    ],
)
def test_a_number_that_is_too_small_is_named(tmp_path, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f'{name}={value}'):
        make_demo_data(tmp_path / 'data', **wrong)


def test_the_command_makes_a_set_once_and_then_says_how_to_replace_it(
    tmp_path,
):
    command = [
        sys.executable,
        demo.__file__,
        str(tmp_path / 'new' / 'data'),
        *('--train', '2', '--val', '1', '--size', '64'),
    ]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0
    assert '2/2 images' in first.stdout
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1
    assert '--force' in second.stderr
    assert 'Traceback' not in second.stderr
