"""The converters as commands: help, processes, space."""

import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.dataset_converters.files import files_of, write_png

SCRIPTS = [
    'ade20k.py',
    'cityscapes.py',
    'coco.py',
    'from_panoptic.py',
    'mapillary.py',
    'to_panoptic.py',
]


@pytest.mark.parametrize('name', SCRIPTS)
def test_help_comes_without_loading_torch_or_mmengine(name, run_script):
    process = run_script(name, '-h', options=['-X', 'importtime'])
    assert process.returncode == 0
    assert 'Example: ' in process.stdout
    assert '--workers' in process.stdout
    assert not re.search(
        r'\| +(torch|mmengine|mmdet)$', process.stderr, re.MULTILINE
    )


@pytest.mark.parametrize('workers', ['0', '-1', 'many'])
def test_a_wrong_number_of_workers_is_refused(convert, tmp_path, workers):
    result = convert('coco', tmp_path, '--workers', workers)
    assert result.code == 2
    assert 'argument --workers: ' in result.error
    assert workers in result.error


def test_a_root_that_does_not_exist_is_named(convert, tmp_path):
    for name in ('ade20k', 'cityscapes', 'coco', 'mapillary'):
        result = convert(name, tmp_path / 'nowhere')
        assert result.code == 1
        assert f'{tmp_path / "nowhere"} lacks the folders' in result.error


@pytest.fixture
def labels(tmp_path) -> Path:
    """Twenty images of ADE20K, all of them wall."""
    for index in range(20):
        name = f'ADE_train_{index:08d}'
        for folder, values in (
            ('annotations', [[1, 0]]),
            ('annotations_instance', [[[0, 0, 0], [1, 1, 0]]]),
        ):
            write_png(tmp_path / folder / 'training' / f'{name}.png', values)
        image = tmp_path / 'images' / 'training' / f'{name}.jpg'
        write_png(image, [[[0, 0, 0]] * 2])
    return tmp_path


def test_several_processes_make_the_same_files(
    labels, tmp_path_factory, run_script
):
    folders = []
    for workers in (1, 3):
        folder = tmp_path_factory.mktemp('ade') / 'root'
        shutil.copytree(labels, folder)
        process = run_script(
            'ade20k.py', folder, '--splits', 'train', '--workers', workers
        )
        assert process.returncode == 0, process.stderr
        assert '20/20' in process.stdout
        folders.append(folder)
    first, second = map(files_of, folders)
    assert len(first) == 20 * 5 + 2
    assert first == second


def test_an_error_in_a_process_is_told_without_traceback(labels, run_script):
    path = labels / 'annotations/training/ADE_train_00000007.png'
    path.write_bytes(b'')
    process = run_script(
        'ade20k.py', labels, '--splits', 'train', '--workers', 2
    )
    assert process.returncode == 1
    assert f'error: {path} cannot be read as an image' in process.stderr
    assert 'Traceback' not in process.stderr
    assert not [*labels.rglob('.*.part')]


def test_too_little_space_is_told_before_anything_is_written(
    labels, convert, monkeypatch
):
    usage = namedtuple('usage', 'total used free')(10, 9, 1_000_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    before = files_of(labels)
    result = convert('ade20k', labels, '--splits', 'train')
    assert result.code == 1
    assert 'need about 0.05 GB' in result.error
    assert f'{labels} has 0.00 GB free' in result.error
    assert files_of(labels) == before
