"""The sheets of what the model is trained with."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from projects.oneformer.errors import InputError, UserError
from tools.analysis_tools import browse_dataset as browse
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parent.parent
TOOL = 'tools/analysis_tools/browse_dataset.py'
CONFIG = ROOT / 'configs' / 'oneformer_r18_demo.py'
CLASSES = ('disc', 'square', 'triangle', 'star')
CLASSES += ('sky', 'grass', 'wall', 'water')


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('browse') / 'data'
    make_demo_data(folder, num_train=4, num_val=2, size=64)
    config = Config.fromfile(CONFIG)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.data_root = str(folder)
    return config


@pytest.fixture(scope='module')
def samples(config):
    """The tasks of the first image."""
    (dataset,) = browse.build_datasets(config, 'train')
    pipeline = browse.training_pipeline(config)
    return {
        sample.task: sample
        for sample in browse.task_samples(
            dataset.get_data_info(0), pipeline, browse.TASKS, seed=5
        )
    }


def names(sample):
    labels = sample.data_sample.gt_instances.labels
    return [CLASSES[label] for label in labels]


def test_all_tasks_of_a_sheet_show_the_same_crop(samples):
    panoptic, instance, semantic = (samples[task] for task in browse.TASKS)
    np.testing.assert_array_equal(panoptic.image, instance.image)
    np.testing.assert_array_equal(panoptic.image, semantic.image)
    all_masks = panoptic.data_sample.gt_instances.masks.masks
    of_things = [name in CLASSES[:4] for name in names(panoptic)]
    np.testing.assert_array_equal(
        all_masks[of_things], instance.data_sample.gt_instances.masks.masks
    )
    np.testing.assert_array_equal(
        all_masks.any(axis=0),
        semantic.data_sample.gt_instances.masks.masks.any(axis=0),
    )


def test_another_seed_shows_another_crop(config, samples):
    (dataset,) = browse.build_datasets(config, 'train')
    pipeline = browse.training_pipeline(config)
    info = dataset.get_data_info(0)
    (other,) = browse.task_samples(info, pipeline, ['panoptic'], seed=6)
    (same,) = browse.task_samples(info, pipeline, ['panoptic'], seed=5)
    assert (same.image == samples['panoptic'].image).all()
    assert (other.image != same.image).any()


def test_only_tasks_that_the_annotation_supervises_are_shown(config):
    (dataset,) = browse.build_datasets(config, 'train')
    pipeline = browse.training_pipeline(config)
    info = dict(dataset.get_data_info(0), supervised_tasks=('instance',))
    (sample,) = browse.task_samples(info, pipeline, browse.TASKS, seed=5)
    assert sample.task == 'instance'
    with pytest.raises(InputError, match='supervises instance, not semantic'):
        browse.task_samples(info, pipeline, ['semantic'], seed=5)


@pytest.mark.parametrize('task', browse.TASKS)
def test_each_text_is_told_once_with_its_number(samples, task):
    sample = samples[task]
    lines = browse.text_lines(sample.data_sample, num_slots=20)
    found = names(sample)
    expected = [
        (str(found.count(name)), f'a photo with a {name}')
        for name in CLASSES
        if name in found
    ]
    article = 'an' if task == 'instance' else 'a'
    filler = (str(20 - len(found)), f'{article} {task} photo (filler)')
    assert lines == [*expected, filler]


def test_texts_beyond_the_slots_of_the_model_are_told_to_be_cut(samples):
    sample = samples['panoptic'].data_sample
    count = len(sample.texts)
    lines = browse.text_lines(sample, num_slots=2)
    assert sum(int(number) for number, _ in lines[:-2]) == 2
    assert lines[-2:] == [
        ('0', 'a panoptic photo (filler)'),
        (str(count - 2), 'cut: the model has 2 text slots'),
    ]
    lines = browse.text_lines(sample, num_slots=None)
    assert sum(int(number) for number, _ in lines) == count


def test_a_mask_is_drawn_on_its_own_pixels(samples):
    sample = samples['instance']
    meta = dict(classes=CLASSES, palette=[(250, 0, 0)] * len(CLASSES))
    drawing = browse.draw_masks(sample, meta)
    plain = browse.enlarge(sample.image)
    factor = plain.shape[0] // sample.image.shape[0]
    masks = sample.data_sample.gt_instances.masks.masks.astype(bool)
    inside = masks.any(axis=0).repeat(factor, 0).repeat(factor, 1)
    changed = (drawing != plain).any(axis=-1)
    # Labels may reach beyond small masks, at most by their own size.
    near = cv2.dilate(inside.astype(np.uint8), np.ones((201, 201))) > 0
    assert changed[inside].mean() > 0.98
    assert not changed[~near].any()
    # Half of the image, half of the palette's red, off lines and labels.
    half = plain // 2 + np.array([125, 0, 0], np.uint8)
    first = masks[0].repeat(factor, 0).repeat(factor, 1)
    assert (drawing == half).all(axis=-1)[first].mean() > 0.3
    assert not (drawing == half).all(axis=-1)[~inside].any()


def test_padding_is_left_out_of_the_sheet(samples):
    sample = samples['panoptic']
    padded = np.full((90, 80, 3), 128, np.uint8)
    padded[:40, :50] = sample.image[:40, :50]
    masks = np.zeros((1, 90, 80), np.uint8)
    masks[0, 45, 10] = 1
    data_sample = sample.data_sample.clone()
    data_sample.gt_instances = data_sample.gt_instances[:1]
    data_sample.gt_instances.masks.masks = masks
    padded_sample = browse.TaskSample('panoptic', padded, data_sample)
    assert browse.content_size([padded_sample]) == (46, 50)
    assert browse.content_size([sample]) <= sample.image.shape[:2]


def test_sheets_are_written_for_the_tasks_asked_for(config, tmp_path):
    paths = browse.draw_sheets(config, tmp_path, 2, 'val')
    assert [path.parent for path in paths] == [tmp_path, tmp_path]
    assert sorted(path.name[4:] for path in paths) == [
        '000005.png',
        '000006.png',
    ]
    wide = cv2.imread(str(paths[0]))
    columns = 1 + len(browse.TASKS)
    gap = (wide.shape[1] - columns * browse.CELL_WIDTH) / (columns + 1)
    assert gap == browse.CELL_WIDTH // 24
    (path,) = browse.draw_sheets(config, tmp_path, 1, 'val', ['semantic'])
    narrow = cv2.imread(str(path))
    assert narrow.shape[1] == 2 * browse.CELL_WIDTH + 3 * gap


def test_no_more_sheets_are_drawn_than_there_are_images(config, tmp_path):
    assert len(browse.draw_sheets(config, tmp_path, 50, 'train')) == 4


def test_wrapped_datasets_are_drawn_from_all(config, tmp_path):
    wrapped = copy.deepcopy(config)
    inner = wrapped.train_dataloader.dataset
    second = dict(
        inner,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
    )
    wrapped.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[inner, second]),
    )
    assert len(browse.draw_sheets(wrapped, tmp_path, 50, 'train')) == 6


def test_a_config_without_tasks_or_data_is_refused(config, tmp_path):
    bare = Config(dict(model={}, train_dataloader=None))
    with pytest.raises(InputError, match='no train_dataloader.dataset'):
        browse.draw_sheets(bare, tmp_path, 1)
    bare.val_dataloader = config.val_dataloader
    with pytest.raises(InputError, match='with SampleTask in its pipeline'):
        browse.draw_sheets(bare, tmp_path, 1, 'val')


def test_only_faults_of_the_user_end_in_one_line(
    config, tmp_path, monkeypatch
):
    (dataset,) = browse.build_datasets(config, 'train')
    info = dataset.get_data_info(0)
    damaged = tmp_path / 'damaged.png'
    damaged.write_bytes(b'no PNG')
    pipeline = browse.training_pipeline(config)
    with pytest.raises(UserError, match='damaged.png'):
        browse.task_samples(
            dict(info, seg_map_path=str(damaged)), pipeline, ['panoptic'], 5
        )

    def fail(*_):
        raise ValueError('a fault of ours')

    monkeypatch.setattr(browse, 'draw_masks', fail)
    with (
        pytest.raises(ValueError, match='a fault of ours'),
        browse.one_line_errors(),
    ):
        browse.draw_sheets(config, tmp_path, 1)


def test_help_comes_without_loading_torch():
    process = subprocess.run(
        [sys.executable, '-X', 'importtime', TOOL, '-h'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'Example: ' in process.stdout
    assert not re.search(r'\| +torch$', process.stderr, re.MULTILINE)


@pytest.mark.slow
def test_the_command_says_where_the_sheets_are(config, tmp_path):
    root = config.train_dataloader.dataset.data_root
    command = [sys.executable, TOOL, CONFIG, '--num', 1, '--seed', 3]
    command += ['--out-dir', tmp_path / 'sheets', '--cfg-options']
    command += [f'train_dataloader.dataset.data_root={root}']
    process = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    (path,) = (tmp_path / 'sheets').iterdir()
    assert f'Wrote 1 sheet: {path}' in process.stdout
