"""Folders of transformers are models without a config of ours."""

import json
import os

import pytest

from projects.oneformer.errors import InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.pretrained.published import published_settings
from projects.oneformer.pretrained.transformers_settings import (
    transformers_settings,
)
from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from tests.model_configs import METAINFO
from tests.pipeline_steps import step_of
from tests.pretrained.conftest import tiny_config
from tests.pretrained.test_folder import assert_same


@pytest.fixture(scope='module')
def theirs(inferencer, tmp_path_factory):
    """Return the folder that transformers reads."""
    path = tmp_path_factory.mktemp('transformers') / 'tiny'
    config = tiny_config()
    save_huggingface_folder(config, inferencer.model.state_dict(), path)
    return path


@pytest.fixture
def changed(theirs, tmp_path):
    """Return a function that changes a file in a copy of the folder."""

    def change(name, **values):
        for file in theirs.iterdir():
            if not (tmp_path / file.name).exists():
                os.link(file, tmp_path / file.name)
        content = json.loads((theirs / name).read_text()) | values
        (tmp_path / name).unlink()
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return change


def test_a_folder_of_transformers_gives_the_results_of_the_model(
    inferencer, theirs, image
):
    """Its threshold is in no file, so that ours is given here."""
    loaded = OneFormerInferencer.from_pretrained(theirs, device='cpu')
    assert loaded.dataset_meta['classes'] == METAINFO['classes']
    things = set(METAINFO['thing_classes'])
    assert set(loaded.dataset_meta['thing_classes']) == things
    assert loaded.model.panoptic_fusion_head.object_mask_thr == 0.8
    loaded.model.panoptic_fusion_head.object_mask_thr = 0.0
    assert_same(inferencer, loaded, image)


def test_things_are_read_from_the_metadata_of_older_files(changed):
    folder = changed(
        'preprocessor_config.json',
        metadata=dict(thing_ids=[1, 2]),
        class_info_file='nowhere.json',
    )
    assert transformers_settings(folder).thing_classes == ('cat', 'sky')


def test_a_folder_without_things_is_refused(changed):
    folder = changed('preprocessor_config.json', class_info_file='../a.json')
    with pytest.raises(InputError, match='does not say which classes are'):
        transformers_settings(folder)


@pytest.mark.parametrize(
    ('size', 'scale', 'keep_ratio'),
    [
        (dict(size=dict(shortest_edge=640, longest_edge=2560)), None, True),
        (dict(size=640, max_size=2560), None, True),
        (dict(size=dict(height=640, width=2560)), None, False),
    ],
)
def test_the_size_of_test_images_is_read(changed, size, scale, keep_ratio):
    folder = changed('preprocessor_config.json', **size)
    pipeline = transformers_settings(folder).test_pipeline
    step = step_of(pipeline, 'Resize')
    assert step['scale'] == (2560, 640)
    assert step['keep_ratio'] == keep_ratio


def test_dilations_of_dinat_are_read(changed):
    """With the values of the published DiNAT-L."""
    dilations = [[1, 20, 1], [1, 5, 1, 10], [1] * 18, [1, 2, 1, 2, 1]]
    backbone = dict(
        model_type='dinat',
        embed_dim=192,
        depths=[3, 4, 18, 5],
        num_heads=[6, 12, 24, 48],
        kernel_size=11,
        mlp_ratio=2.0,
        layer_scale_init_value=0.0,
        dilations=dilations,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    folder = changed('config.json', backbone_config=backbone)
    found = transformers_settings(folder).model
    assert found['backbone'] == dict(
        type='DiNAT',
        embed_dims=192,
        depths=(3, 4, 18, 5),
        num_heads=(6, 12, 24, 48),
        mlp_ratio=2.0,
        kernel_size=11,
        dilations=tuple(map(tuple, dilations)),
    )
    assert found['panoptic_head']['in_channels'] == [192, 384, 768, 1536]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(model_type='mask2former'), "'mask2former', expected a OneFor"),
        (dict(pre_norm=True), 'pre_norm is true.*with false only'),
        (dict(mask_dim=32), 'mask_dim is 32.*with 64 only'),
        (dict(num_queries='many'), "num_queries, got 'many'"),
        (dict(id2label={'1': 'wall'}), 'labels 0 to N - 1'),
        (dict(backbone_config=dict(model_type='resnet')), "'resnet'"),
        (
            dict(backbone_config=dict(model_type='swin', depths=[2, 2])),
            'depths, one for each stage',
        ),
    ],
)
def test_what_this_package_cannot_build_is_named(changed, values, message):
    with pytest.raises(InputError, match=message):
        transformers_settings(changed('config.json', **values))


def test_the_paper_gives_the_thresholds_of_its_data_sets(changed):
    ade20k = published_settings(ade20k_classes())
    assert ade20k['test_cfg'] == dict(object_mask_thr=0.5)
    assert len(ade20k['thing_classes']) == 100
    # Their lists write some names with a blank at the end.
    names = [name.strip() for name in ade20k_classes()]
    assert published_settings(names)['test_cfg'] == ade20k['test_cfg']
    assert published_settings(['a', 'b']) == {}
    assert published_settings([f'class {i}' for i in range(150)]) == {}
    labels = {str(i): name for i, name in enumerate(names)}
    folder = changed('config.json', id2label=labels)
    (folder / 'class_info.json').unlink()
    settings = transformers_settings(folder)
    assert settings.model['test_cfg'] == dict(object_mask_thr=0.5)
    assert len(settings.thing_classes) == 100


def ade20k_classes():
    from mmengine.config import Config

    from projects.oneformer import config_path

    config = Config.fromfile(config_path('_base_/datasets/ade20k_panoptic.py'))
    return config.metainfo['classes']
