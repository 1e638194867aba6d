"""docs/coming_from.md: its programs run, and its settings exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from tests.model_configs import METAINFO, build_model, tiny_model
from tools._overrides import check_overrides

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'coming_from.md').read_text(encoding='utf-8')
SETTING = re.compile(
    r'`((?:model|train_cfg|optim_wrapper|train_dataloader)\.[\w.]+)`'
)
# Those in the second column; the first has the settings of others.
OUR_SETTINGS = sorted(
    {
        key
        for cell in re.findall(r'^\|[^|]+\|([^|]+)\|$', PAGE, re.MULTILINE)
        for key in SETTING.findall(cell)
    }
)


@pytest.fixture(scope='module')
def places(tmp_path_factory) -> dict[str, str]:
    """A tiny model in a folder of transformers, its config and a photo."""
    pytest.importorskip('transformers', reason='compares with transformers')
    root = tmp_path_factory.mktemp('coming_from')
    folder, config, photo = (
        root / name for name in ('folder', 'config.py', 'photo.png')
    )
    model = tiny_model(object_mask_thr=0.0, iou_thr=0.0)
    pipeline = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True, backend='pillow'),
        dict(
            type='PackDetInputs',
            meta_keys=('img_path', 'ori_shape', 'img_shape'),
        ),
    ]
    settings = Config(
        dict(
            model=model,
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            default_scope='mmdet',
        )
    )
    settings.dump(config)
    weights = build_model(model).state_dict()
    save_huggingface_folder(settings, weights, folder)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    return dict(folder=str(folder), config=str(config), photo=str(photo))


def test_the_same_folder_runs_in_transformers_and_here(places):
    named, *programs = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    names: dict = {}
    exec(named, names)
    assert places.keys() <= names.keys()
    names.update(places)
    for program in programs:
        exec(program, names)
    assert names['theirs'].shape == names['ours'].shape == (32, 48)
    result, parts = names['result'], names['parts']
    assert result.classes == METAINFO['classes']
    assert len(parts) == len(result.segments) > 0
    assert {part['label'] for part in parts} <= set(METAINFO['classes'])


@pytest.fixture(scope='module')
def recipe() -> Config:
    """A recipe of the page."""
    return Config.fromfile(ROOT / 'configs' / 'oneformer_swin-l_coco.py')


@pytest.mark.parametrize('key', OUR_SETTINGS)
def test_a_setting_on_the_page_has_an_effect(key, recipe):
    check_overrides(recipe.to_dict(), {key: None})
