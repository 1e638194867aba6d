"""A config.json is data: what it may say, and what is refused."""

import errno
import json
import sys
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from projects.oneformer.errors import FileError, InputError
from projects.oneformer.pretrained import find_pretrained
from projects.oneformer.pretrained.settings import (
    read_settings,
    settings_of,
    write_settings,
)
from tests.pipeline_steps import step_of
from tests.pretrained.conftest import tiny_config

CONFIGS = Path(__file__).parents[2] / 'configs'
# One of each backbone, neck and pipeline.
SHIPPED = (
    'oneformer_r50_coco',
    'oneformer_swin-t_ade20k',
    'oneformer_convnext-l_cityscapes',
    'oneformer_dinat-l_ade20k-1280',
    'oneformer_effnet-lite0_camvid',
    'oneformer_pvtv2-b2_coco',
    'oneformer_vit-b_coco',
    'oneformer_eomt-s_cityscapes',
    'eomt-l_coco-1280',
)


@pytest.fixture
def content():
    """Return a config.json that is read."""
    return json.loads(write_settings(settings_of(tiny_config())))


def read(content):
    return read_settings(json.dumps(content), 'config.json')


def test_settings_come_back_from_json():
    settings = settings_of(tiny_config(), trained_tasks=('instance',))
    assert read_settings(write_settings(settings), 'it') == settings
    assert settings.trained_tasks == ('instance',)
    steps = [step['type'] for step in settings.test_pipeline]
    assert steps == ['LoadImageFromFile', 'Resize', 'PackDetInputs']
    # mmcv's Resize takes a tuple only.
    assert step_of(settings.test_pipeline, 'Resize')['scale'] == (96, 64)
    assert 'train_cfg' not in settings.model
    assert 'init_cfg' not in settings.model['backbone']


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_configs_have_a_place_in_a_folder(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    settings = settings_of(config)
    assert read_settings(write_settings(settings), name) == settings
    again = settings.config()
    assert again.model.metainfo == config.model.metainfo
    init_default_scope('mmdet')
    Compose(again.test_dataloader.dataset.pipeline)


def test_the_config_of_a_training_does_not_change():
    config = tiny_config()
    before = config.to_dict()
    settings_of(config)
    assert config.to_dict() == before


def add(content, path, value):
    *parents, last = path
    for key in parents:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (('model', 'neck'), dict(type='os.system'), r'model\.neck\.type'),
        (
            ('model', 'neck'),
            dict(type='FPN', _scope_='antigravity'),
            r'neck\._scope_ is .antigravity.',
        ),
        (('model', 'neck'), dict(type='antigravity.FPN'), 'neck.type'),
        (('model', 'neck'), dict(type='OpenAIModel'), 'neck.type'),
        (('model', 'backbone', '_delete_'), True, "has '_delete_'"),
        (('model', '_base_'), 'evil.py', "has '_base_'"),
        (
            ('model', 'backbone', 'init_cfg'),
            dict(type='Pretrained', checkpoint='/etc/passwd'),
            "has 'init_cfg'",
        ),
        (('model', 'backbone', 'pretrained'), 'a.pth', "has 'pretrained'"),
        (
            ('model', 'backbone', 'norm_cfg'),
            dict(type='subprocess.Popen'),
            r'norm_cfg\.type',
        ),
        (
            ('test_pipeline', 0, 'backend_args'),
            dict(backend='petrel'),
            r"test_pipeline\[0\] has 'backend_args'",
        ),
        (('test_pipeline', 1), dict(type='WrapFieldsToLists'), r'\[1\].type'),
        (('custom_imports',), dict(imports=['antigravity']), 'unknown entr'),
        (
            ('model', 'backbone'),
            dict(
                type='mmpretrain.TIMMBackbone',
                model_name='resnet18',
                norm_layer='os.system',
            ),
            'norm_layer',
        ),
        (
            ('model', 'backbone'),
            dict(type='TIMMBackbone', model_name='hf-hub:some/one'),
            'hf-hub',
        ),
    ],
)
def test_nothing_but_a_description_of_a_model_is_read(
    content, path, value, message
):
    add(content, path, value)
    with pytest.raises(InputError, match=message):
        read(content)
    assert 'antigravity' not in sys.modules


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (('library',), 'timm', "oneformer-openmmlab.*got 'timm'"),
        (('format',), 2, 'format 2.*reads 1: update'),
        (('classes',), 'wall', "a list under 'classes', got str"),
        (('classes',), ['wall', 3], "names under 'classes'"),
        (('classes', 1), 'wall', 'classes more than once'),
        (('thing_classes',), ['cow'], r'thing_classes \[.cow.\]'),
        (('palette',), [[0, 0, 0]], 'a palette of 6 colours'),
        (('palette', 0), [0, 0, 256], 'from 0 to 255'),
        (('category_ids',), [1, 1, 2, 3, 4, 5], '6 category_ids, different'),
        (
            ('category_ids',),
            [1, 1, 2, 3, 4, 5, 6],
            '6 category_ids, different',
        ),
        (('trained_tasks',), ['depth'], "trained_tasks are .'depth'."),
        (('model', 'type'), 'SwinTransformer', 'expected a whole model'),
        (('model', 'type'), 'OneFormerHead', 'expected a whole model'),
        (('model', 'type'), 'CLIPTokenizer', 'expected a whole model'),
        (('model', 'type'), 'LoadSegments', 'expected a whole model'),
        (('test_pipeline',), [], 'needs steps'),
        (('test_pipeline', 0), 'LoadImageFromFile', 'each with a type'),
    ],
)
def test_wrong_values_are_named(content, path, value, message):
    add(content, path, value)
    with pytest.raises(InputError, match=message):
        read(content)


@pytest.mark.parametrize('text', ['', '{', '[1]', '{"a": NaN}', '[' * 10**5])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(InputError, match=r'config\.json'):
        read_settings(text, 'config.json')


def test_a_config_in_another_encoding_is_refused(tmp_path):
    (tmp_path / 'config.json').write_bytes(b'{"library": "\xff"}')
    with pytest.raises(InputError, match=r'config\.json is not valid JSON'):
        find_pretrained(tmp_path)


def test_a_config_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    (tmp_path / 'config.json').write_text('{}')

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(Path, 'read_text', refuse)
    with pytest.raises(FileError, match='cannot be read: Permission denied'):
        find_pretrained(tmp_path)


def test_a_config_that_a_folder_cannot_hold_is_refused_when_saved():
    config = tiny_config()
    config.model.neck = dict(type='mmdet.HRFPN')
    with pytest.raises(InputError, match='neck.*HRFPN.*use its config'):
        settings_of(config)
    config = tiny_config()
    config.model.backbone.window_size = MODELS
    with pytest.raises(InputError, match='cannot be written as JSON'):
        settings_of(config)
