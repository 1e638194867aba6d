"""What a user can get wrong ends a tool in one line, our faults do not."""

import argparse
import importlib
import re
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from projects.oneformer.errors import InputError
from projects.oneformer.file_writing import write_json
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / 'configs' / 'oneformer_r18_demo.py')


@pytest.fixture
def cli(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    return importlib.import_module('_cli')


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    make_demo_data(folder, num_train=2, num_val=1, size=64)
    return folder


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'model.pth'
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def end_of(cli, data, monkeypatch, tmp_path):
    """Run a tool in this process; return what it ends with."""

    def run(tool: str, *arguments, **overrides) -> str:
        settings = {}
        for loader in ('train', 'val', 'test'):
            prefix = f'{loader}_dataloader'
            settings[f'{prefix}.dataset.data_root'] = data
            settings[f'{prefix}.num_workers'] = 0
            settings[f'{prefix}.persistent_workers'] = False
        settings |= overrides
        command = [f'{tool}.py', *arguments, '--work-dir', tmp_path / 'work']
        command += ['--cfg-options']
        command += [f'{key}={value}' for key, value in settings.items()]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        main = importlib.import_module(tool).main
        with pytest.raises(SystemExit) as end, cli.one_line_errors():
            main()
        assert end.value.code  # the exit code is 1 where it is a message
        return str(end.value.code)

    return run


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (
            {'train_dataloader.batch_size': 0},
            'Expected train_dataloader.batch_size to be a whole number of 1 '
            'or more, got 0.',
        ),
        (
            {'train_dataloader.persistent_workers': True},
            'train_dataloader.persistent_workers=False, too.',
        ),
        ({'train_cfg.max_iters': -1}, 'Expected train_cfg.max_iters to be'),
        (
            {'model.test_cfg.object_mask_thr': 'nan'},
            'Expected object_mask_thr to be a number, such as 0.8, got nan.',
        ),
        (
            {'model.backbone.type': 'ResNot'},
            'The config cannot be used: KeyError: ResNot is not in the',
        ),
        ({'model.depth': 3}, "unexpected keyword argument 'depth'"),
        (
            {'model.panoptic_head.num_queries': 2},
            'The config cannot be used: num_context=4 leaves no text slot',
        ),
        (
            {'train_dataloader.dataset.data_root': 'nowhere'},
            'nowhere/annotations/panoptic_train.json does not exist: check '
            'data_root and ann_file',
        ),
        ({'optim_wrapper.optimizer.lr': -1}, 'Invalid learning rate: -1'),
        ({'model.backbone.dept': 18}, "unexpected keyword argument 'dept'"),
        ({'default_hooks.tmier.type': 'X'}, 'did you mean'),
    ],
)
def test_training_ends_in_one_line_at_a_wrong_setting(
    end_of, overrides, message
):
    end = end_of('train', CONFIG, **overrides)
    assert message in end
    assert '\n' not in end


def test_training_ends_in_one_line_at_an_image_that_is_missing(
    end_of, data, tmp_path
):
    copy = tmp_path / 'copy'
    make_demo_data(copy, num_train=2, num_val=1, size=64)
    for image in (copy / 'train').iterdir():
        image.unlink()
    end = end_of(
        'train', CONFIG, **{'train_dataloader.dataset.data_root': copy}
    )
    assert 'does not exist: check data_root and data_prefix["img"]' in end
    assert '\n' not in end


def test_a_missing_config_or_a_broken_one_is_named(end_of, tmp_path):
    assert end_of('train', 'nowhere.py').startswith(
        'Config nowhere.py does not exist.'
    )
    for text, message in (
        ('a = (', 'SyntaxError: '),
        ('a = b', "NameError: name 'b' is not defined"),
        ("_base_ = './nothing.py'", 'nothing.py'),
    ):
        broken = tmp_path / 'broken.py'
        broken.write_text(text)
        end = end_of('test', broken, 'none.pth')
        assert end.startswith(f'Config {broken} cannot be read: ')
        assert message in end
        assert '\n' not in end


def test_evaluation_ends_in_one_line_without_weights_or_network(
    end_of, monkeypatch, tmp_path
):
    assert 'none.pth does not exist.' in end_of('test', CONFIG, 'none.pth')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    end = end_of('test', CONFIG, 'https://example.org/model.pth')
    assert end.startswith(
        'https://example.org/model.pth cannot be downloaded: '
    )
    assert '\n' not in end


def test_evaluation_names_a_metric_that_has_no_result(end_of, weights):
    end = end_of(
        'test', CONFIG, weights, **{'model.test_cfg.tasks': '[semantic]'}
    )
    assert "add 'panoptic' to model.test_cfg.tasks" in end
    assert '\n' not in end


def test_a_fault_of_ours_keeps_its_traceback(cli):
    for fault in (ValueError('ours'), KeyError('ours'), OSError('ours')):
        with pytest.raises(type(fault)), cli.one_line_errors():
            raise fault


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('file/new.json', 'Not a directory|File exists'),
        ('folder', 'Is a directory'),
        ('n' * 300, 'File name too long'),
    ],
)
def test_a_path_that_cannot_be_written_ends_in_one_line(
    cli, tmp_path, path, reason
):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        write_json(str(tmp_path / path), {})
    first = re.escape(str(tmp_path))
    assert re.match(
        f'{first}/.+ cannot be used: ({reason}). Choose another path',
        end.value.code,
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['file', 'folder']


def test_the_message_of_a_loader_process_comes_without_its_traceback(cli):
    text = (
        'Caught InputError in DataLoader worker process 0.\n'
        'Original Traceback (most recent call last):\n'
        '  File "a.py", line 1, in b\n'
        'ValueError: damaged\n\n'
        'The above exception was the direct cause of the following '
        'exception:\n\nTraceback (most recent call last):\n'
        '  File "a.py", line 2, in b\n'
        'projects.oneformer.errors.InputError: a.png is damaged: restore\n'
        'the file.\n'
    )
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        raise InputError(text)
    assert end.value.code == 'a.png is damaged: restore the file.'


@pytest.mark.parametrize(
    ('kind', 'right', 'wrong'),
    [
        ('positive', {'1': 1, '20': 20}, ['0', '-1', '1.5', 'x', '']),
        ('not_negative', {'0': 0, '3': 3}, ['-1', 'x']),
        ('score', {'0': 0, '0.5': 0.5, '1': 1}, ['nan', '-0.1', '2', 'x']),
        ('device', {'cpu': 'cpu'}, ['gpu', 'cuda:99', 'mps:', 'meta', '']),
    ],
)
def test_arguments_are_checked(cli, kind, right, wrong):
    check = getattr(cli, kind)
    assert {text: check(text) for text in right} == right
    for text in wrong:
        with pytest.raises(argparse.ArgumentTypeError, match='got'):
            check(text)
