"""Folders of transformers' EoMT are models without a config of ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from projects.oneformer.errors import InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.pretrained.eomt_settings import eomt_settings
from projects.oneformer.weights.eomt_folder import files_of
from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from tests.model_configs import (
    METAINFO,
    be_sure_of_several_classes,
    build_model,
    tiny_eomt,
)
from tests.pretrained.conftest import PIPELINE
from tests.pretrained.test_folder import assert_same

CONFIGS = Path(__file__).parents[2] / 'configs'
SIZE = 64


def eomt_config() -> Config:
    """Return a config of a plain EoMT for panoptic results."""
    model = tiny_eomt(training=False, size=SIZE)
    model.metainfo = METAINFO
    model.data_preprocessor = dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=SIZE,
        pad_mask=True,
        mask_pad_value=0,
    )
    model.test_cfg = dict(
        tasks=('panoptic',), object_mask_thr=0.8, iou_thr=0.8
    )
    resize = dict(
        type='Resize', scale=(SIZE, SIZE), keep_ratio=True, backend='pillow'
    )
    steps = [PIPELINE[0], resize, *PIPELINE[2:]]
    return Config(
        dict(
            model=model,
            test_dataloader=dict(dataset=dict(pipeline=steps)),
            default_scope='mmdet',
        )
    )


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
    """The model, and below the folder that transformers reads."""
    config = eomt_config()
    model = build_model(config.model, seed=3)
    be_sure_of_several_classes(model)
    path = tmp_path_factory.mktemp('weights') / 'eomt.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return OneFormerInferencer(config, path, device='cpu')


@pytest.fixture(scope='module')
def theirs(ours, tmp_path_factory):
    path = tmp_path_factory.mktemp('transformers') / 'eomt'
    save_huggingface_folder(eomt_config(), ours.model.state_dict(), path)
    return path


def change(folder: Path, name: str, **values) -> None:
    content = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def settings_folder(tmp_path):
    """A folder with the settings alone, to be changed."""
    for name, content in files_of(eomt_config()).items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_a_folder_gives_the_results_of_the_model(ours, theirs):
    loaded = OneFormerInferencer.from_pretrained(theirs, device='cpu')
    assert loaded.config.model.test_cfg.tasks == ('panoptic',)
    pixels = np.random.default_rng(0).integers(
        0, 256, (40, 60, 3), dtype=np.uint8
    )
    assert_same(ours, loaded, pixels)


@pytest.mark.parametrize(
    'name', ['eomt-s_coco', 'eomt-l_coco-1280', 'eomt-g_coco']
)
def test_settings_of_published_kinds_come_back(name, tmp_path):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    files = files_of(config)
    # The authors' files do not name the things: those of COCO are known.
    del files['preprocessor_config.json']['metadata']
    for file, content in files.items():
        (tmp_path / file).write_text(json.dumps(content))
    settings = eomt_settings(tmp_path)
    found = settings.config()
    assert set(settings.thing_classes) == set(config.metainfo.thing_classes)
    again = files_of(found)
    del again['preprocessor_config.json']['metadata']
    assert again == files
    for key in ('object_mask_thr', 'iou_thr'):
        assert found.model.test_cfg[key] == config.model.test_cfg[key]
    assert list(found.model.test_cfg.tasks) == config.model.test_cfg.tasks


def test_a_gated_block_has_the_width_of_transformers(settings_folder):
    """4 x 384, of which two thirds are 1024, as is."""
    change(
        settings_folder,
        'config.json',
        hidden_size=384,
        use_swiglu_ffn=True,
        mlp_ratio=4,
    )
    head = eomt_settings(settings_folder).model['panoptic_head']
    assert head['block']['feedforward_channels'] == 1024
    assert head['block']['gated']


def test_things_alone_make_a_model_for_instances(settings_folder):
    labels = list(range(len(METAINFO['classes'])))
    change(
        settings_folder,
        'preprocessor_config.json',
        metadata=dict(thing_ids=labels),
    )
    settings = eomt_settings(settings_folder)
    assert settings.model['test_cfg']['tasks'] == ('instance',)


@pytest.mark.parametrize(
    ('name', 'values', 'message'),
    [
        ('preprocessor_config.json', dict(metadata=None), 'which classes are'),
        ('preprocessor_config.json', dict(do_split_image=True), 'do_split_im'),
        (
            'preprocessor_config.json',
            dict(size=dict(shortest_edge=32, longest_edge=64)),
            'fit the 64 pixels',
        ),
        ('config.json', dict(num_blocks=4), 'fewer blocks with queries'),
        ('config.json', dict(num_upscale_blocks=3), 'num_upscale_blocks is 3'),
        ('config.json', dict(num_register_tokens=-1), '0 or more'),
    ],
)
def test_what_cannot_be_built_is_refused(
    settings_folder, name, values, message
):
    change(settings_folder, name, **values)
    with pytest.raises(InputError, match=message):
        eomt_settings(settings_folder)


def test_a_folder_that_transformers_saved_gives_its_queries(ours, tmp_path):
    """The network of transformers, its own files, and its own logits."""
    transformers = pytest.importorskip(
        'transformers', minversion='4.57', reason='needs EoMT of 4.57'
    )
    from tests.eomt_oracle import make_pair

    pair = make_pair((0.0, 0.0))
    names = dict(enumerate(METAINFO['classes']))
    pair.oracle.config.id2label = names
    pair.oracle.save_pretrained(tmp_path)
    transformers.EomtImageProcessor(
        size=dict(shortest_edge=SIZE, longest_edge=SIZE),
        do_pad=True,
        metadata=dict(thing_ids=[0, 1]),
    ).save_pretrained(tmp_path)
    loaded = OneFormerInferencer.from_pretrained(tmp_path, device='cpu')
    inputs = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = pair.oracle(inputs).class_queries_logits
        cls_scores, _ = loaded.model(inputs, mode='tensor')
    torch.testing.assert_close(cls_scores[-1], expected, atol=1e-4, rtol=1e-4)
