"""A model folder gives back the model that was saved."""

import json
import os

import pytest
import torch
from mmdet.registry import MODELS
from safetensors.torch import load_file

from projects.oneformer.errors import FileError, InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.tasks import RESULT_FIELDS, TASKS
from projects.oneformer.weights.reader import load_weights
from tests.model_configs import METAINFO, tiny_model
from tests.pretrained.conftest import COLORS, tiny_config

FILES = {'README.md', 'config.json', 'model.safetensors'}


def outputs(inferencer, image):
    (sample,) = inferencer.samples(image, tasks=TASKS)
    return {
        f'{task}.{key}': value
        for task in TASKS
        for key, value in sample.get(RESULT_FIELDS[task]).items()
    }


def assert_same(inferencer, other, image):
    """The same operators on the same values give the same bits."""
    expected = outputs(inferencer, image)
    found = outputs(other, image)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_a_folder_gives_the_results_of_the_model(inferencer, folder, image):
    assert {path.name for path in folder.iterdir()} == FILES
    loaded = OneFormerInferencer.from_pretrained(folder, device='cpu')
    assert_same(inferencer, loaded, image)
    assert loaded.model.trained_tasks == ('panoptic', 'semantic')
    assert loaded.dataset_meta['classes'] == METAINFO['classes']
    assert loaded.dataset_meta['category_ids'] == (7, 1, 90, 3, 4, 5)
    assert loaded.dataset_meta['palette'] == tuple(map(tuple, COLORS))


def test_a_folder_that_was_loaded_is_saved_as_it_was(folder, tmp_path):
    loaded = OneFormerInferencer.from_pretrained(folder, device='cpu')
    loaded.save_pretrained(tmp_path / 'tiny')
    for name in FILES:
        copy = (tmp_path / 'tiny' / name).read_bytes()
        assert copy == (folder / name).read_bytes(), name


def test_float16_takes_half_the_space(inferencer, folder, tmp_path, image):
    inferencer.save_pretrained(tmp_path / 'half', float16=True)
    full, half = (
        (path / 'model.safetensors').stat().st_size
        for path in (folder, tmp_path / 'half')
    )
    # Buffers and the table of names are as they were.
    assert 0.5 < half / full < 0.56
    loaded = OneFormerInferencer.from_pretrained(tmp_path / 'half', 'cpu')
    for name, value in loaded.model.named_parameters():
        expected = inferencer.model.get_parameter(name)
        assert value.dtype == torch.float32
        assert torch.equal(value, expected.half().float()), name
    assert outputs(loaded, image).keys() == outputs(inferencer, image).keys()


def test_float16_does_not_lose_large_weights(inferencer, tmp_path):
    bias = inferencer.model.panoptic_head.cls_embed.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias[0] = 1e5
    try:
        with pytest.raises(InputError, match=r'cls_embed.*1e\+05.*65504'):
            inferencer.save_pretrained(tmp_path / 'half', float16=True)
    finally:
        bias.data.copy_(before)
    assert list(tmp_path.iterdir()) == []


def test_a_config_and_a_checkpoint_are_a_model(checkpoint, inferencer, image):
    loaded = OneFormerInferencer.from_pretrained(
        checkpoint, device='cpu', config=tiny_config()
    )
    assert_same(inferencer, loaded, image)


def test_training_takes_over_the_class_rows_of_a_folder(folder):
    model = tiny_model(training=True)
    model.metainfo = dict(
        classes=('tree', 'dog'), thing_classes=('tree', 'dog')
    )
    model = MODELS.build(model)
    load_weights(model, str(folder))
    saved = load_file(folder / 'model.safetensors')
    weight = saved['panoptic_head.cls_embed.weight']
    dog = METAINFO['classes'].index('dog')
    assert model.panoptic_head.cls_embed.weight[1].equal(weight[dog])
    assert model.trained_tasks == ('panoptic', 'semantic')


def test_an_existing_folder_is_not_overwritten(inferencer, tmp_path):
    other = tmp_path / 'photos'
    other.mkdir()
    (other / 'a.jpg').write_bytes(b'image')
    for overwrite in (False, True):
        with pytest.raises(FileError, match='is no model folder'):
            inferencer.save_pretrained(other, overwrite=overwrite)
    assert [path.name for path in other.iterdir()] == ['a.jpg']


def test_a_model_is_replaced_on_demand_only(inferencer, tmp_path):
    target = tmp_path / 'model'
    target.mkdir()  # empty
    inferencer.save_pretrained(target)
    before = (target / 'README.md').stat().st_ino
    with pytest.raises(FileError, match='overwrite=True'):
        inferencer.save_pretrained(target)
    assert (target / 'README.md').stat().st_ino == before
    inferencer.save_pretrained(target, overwrite=True)
    assert (target / 'README.md').stat().st_ino != before
    assert {path.name for path in target.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_a_model_beside_other_files_is_not_replaced(inferencer, tmp_path):
    inferencer.save_pretrained(tmp_path / 'model')
    (tmp_path / 'model' / '.git').mkdir()
    with pytest.raises(FileError, match=r'holds \.git besides the model'):
        inferencer.save_pretrained(tmp_path / 'model', overwrite=True)
    assert (tmp_path / 'model' / '.git').is_dir()


def test_nothing_remains_of_a_folder_that_cannot_be_written(
    inferencer, tmp_path, monkeypatch
):
    target = tmp_path / 'model'
    inferencer.save_pretrained(target)
    before = (target / 'model.safetensors').stat().st_mtime_ns

    def fail(*args):
        raise OSError('no space left on device')

    monkeypatch.setattr(
        'projects.oneformer.pretrained.folder.write_card', fail
    )
    with pytest.raises(FileError, match='no space left'):
        inferencer.save_pretrained(target, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['model']
    assert (target / 'model.safetensors').stat().st_mtime_ns == before


def test_a_folder_is_readable_as_other_files_are(folder, tmp_path):
    (tmp_path / 'plain').mkdir()
    expected = (tmp_path / 'plain').stat().st_mode
    assert os.stat(folder).st_mode == expected


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('weights/iter_1.pth', 'does not exist: expected a folder'),
        ('swin-l', 'the name of a model on the Hub, owner/name'),
    ],
)
def test_a_name_of_nothing_is_refused(source, message):
    with pytest.raises(FileNotFoundError, match=message):
        OneFormerInferencer.from_pretrained(source)


def test_a_work_dir_needs_its_config(checkpoint):
    with pytest.raises(InputError, match=r'from_pretrained\(checkpoint, con'):
        OneFormerInferencer.from_pretrained(checkpoint.parent)


def test_an_unknown_config_is_named(checkpoint):
    with pytest.raises(FileNotFoundError, match='oneformer_swin-t_coco'):
        OneFormerInferencer.from_pretrained(
            checkpoint, config='oneformer_swin-t_cocoo'
        )


def test_weights_of_another_model_are_refused(folder, tmp_path):
    config = json.loads((folder / 'config.json').read_text())
    config['model']['panoptic_head']['num_queries'] = 7
    (tmp_path / 'config.json').write_text(json.dumps(config))
    os.link(folder / 'model.safetensors', tmp_path / 'model.safetensors')
    with pytest.raises(ValueError, match='20 queries.*7 queries'):
        OneFormerInferencer.from_pretrained(tmp_path)
