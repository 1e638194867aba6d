"""Files of every origin are read safely and loaded whole or not at all."""

import json
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from projects.oneformer.weights import to_huggingface, to_reference
from projects.oneformer.weights.reader import (
    CheckpointError,
    load_weights,
    read_checkpoint,
)
from tests.model_configs import METAINFO, build_model, tiny_model

HEAD = 'panoptic_head.cls_embed.weight'


@pytest.fixture(scope='module')
def teacher():
    """A trained model whose weights the files of these tests hold."""
    return build_model(tiny_model(), seed=1)


@pytest.fixture
def inference():
    return build_model(tiny_model(training=False), seed=2)


@pytest.fixture
def training():
    return build_model(tiny_model(), seed=2)


@pytest.fixture(scope='module')
def reference(teacher) -> dict:
    return to_reference(teacher.state_dict())


@pytest.fixture(scope='module')
def huggingface(teacher) -> dict:
    """As on the Hub, without the text branch."""
    return {
        name: value.contiguous()
        for name, value in to_huggingface(teacher.state_dict()).items()
        if 'text_mapper' not in name and 'logit_scale' not in name
    }


@pytest.fixture
def reports(monkeypatch) -> list[str]:
    """What is logged about loading."""
    messages = []
    monkeypatch.setattr(
        'projects.oneformer.weights.fitting.print_log',
        lambda message, **_: messages.append(message),
    )
    return messages


def assert_loaded(model, teacher) -> None:
    """All weights are those of the teacher."""
    theirs = teacher.state_dict()
    for name, value in model.state_dict().items():
        assert value.equal(theirs[name]), name


def folder_of_transformers(path, weights, classes=METAINFO['classes']):
    path.mkdir()
    save_file(weights, path / 'model.safetensors')
    names = {str(i): name for i, name in enumerate(classes)}
    (path / 'config.json').write_text(json.dumps(dict(id2label=names)))
    return path


@pytest.fixture(params=['bare', 'model', 'training', 'legacy', 'pkl'])
def reference_file(request, reference, tmp_path):
    """A file of the reference in all the ways it may have been written."""
    path = tmp_path / 'without a telling name'
    if request.param == 'bare':
        torch.save(reference, path)
    elif request.param == 'model':
        torch.save(dict(model=reference), path)
    elif request.param == 'training':
        torch.save(dict(model=reference, iteration=7, optimizer={}), path)
    elif request.param == 'legacy':
        torch.save(reference, path, _use_new_zipfile_serialization=False)
    else:
        arrays = {name: value.numpy() for name, value in reference.items()}
        with path.open('wb') as file:
            pickle.dump(dict(model=arrays, __author__='someone'), file)
    return path


def test_a_file_of_the_reference_fills_an_inference_model(
    reference_file, inference, teacher
):
    load_checkpoint(inference, str(reference_file))
    assert_loaded(inference, teacher)


def test_a_file_of_the_reference_fills_a_training_model(
    reference, training, teacher, tmp_path
):
    torch.save(dict(model=reference), tmp_path / 'file.pth')
    load_checkpoint(training, str(tmp_path / 'file.pth'), strict=True)
    assert_loaded(training, teacher)


def test_the_weights_may_be_handed_over_in_memory(
    reference, inference, teacher
):
    inference.load_state_dict(reference)
    assert_loaded(inference, teacher)


def test_a_pickle_may_hold_tensors(reference, inference, teacher, tmp_path):
    path = tmp_path / 'swin.pkl'
    with path.open('wb') as file:
        pickle.dump(dict(model=OrderedDict(reference)), file)
    load_weights(inference, str(path))
    assert_loaded(inference, teacher)


@pytest.mark.parametrize('shards', [1, 2])
def test_a_folder_of_transformers_fills_an_inference_model(
    shards, huggingface, inference, teacher, tmp_path
):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    if shards == 2:
        (folder / 'model.safetensors').unlink()
        names = list(huggingface)
        where = {}
        for i, part in enumerate((names[::2], names[1::2])):
            file = f'model-0000{i + 1}-of-00002.safetensors'
            save_file({n: huggingface[n] for n in part}, folder / file)
            where |= dict.fromkeys(part, file)
        index = folder / 'model.safetensors.index.json'
        index.write_text(json.dumps(dict(weight_map=where)))
    load_checkpoint(inference, str(folder))
    assert_loaded(inference, teacher)


def test_a_training_model_keeps_its_text_branch_if_the_file_has_none(
    huggingface, training, teacher, tmp_path, reports
):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    load_checkpoint(training, str(folder), strict=True)
    for name, value in training.state_dict().items():
        if 'text_mapper' not in name:
            assert value.equal(teacher.state_dict()[name]), name
    initial = build_model(tiny_model(), seed=2).state_dict()
    name = 'panoptic_head.text_mapper.context.weight'
    assert training.state_dict()[name].equal(initial[name])
    (report,) = reports
    assert (
        'At initial values: panoptic_head.contrastive_loss, '
        'panoptic_head.text_mapper.' in report
    )
    assert 'transformers layout' in report


def test_the_report_says_that_inference_skips_the_text_branch(
    reference, inference, reports
):
    inference.load_state_dict(reference)
    (report,) = reports
    branch = [n for n in reference if n.startswith(('text_', 'prompt_'))]
    assert f'Skipped {len(branch) + 1} entries of the text branch' in report
    assert f'Loaded {len(inference.state_dict())} entries' in report


# ---------------------------------------------------------------------------
# Other classes
# ---------------------------------------------------------------------------


def model_of(*classes: str, **options):
    """Return a training model with these classes, all of them things."""
    cfg = tiny_model()
    cfg.metainfo = dict(classes=list(classes), thing_classes=list(classes))
    cfg.update(options)
    return build_model(cfg, seed=2)


def test_rows_of_equal_class_names_are_taken_over(
    huggingface, teacher, tmp_path, reports
):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    model = model_of('car', 'horse', 'cat')
    initial = model.panoptic_head.cls_embed.weight.detach().clone()
    load_checkpoint(model, str(folder))
    ours = model.panoptic_head.cls_embed.weight
    theirs = teacher.panoptic_head.cls_embed.weight
    names = METAINFO['classes']
    assert ours[0].equal(theirs[names.index('car')])
    assert ours[1].equal(initial[1])
    assert ours[2].equal(theirs[names.index('cat')])
    assert ours[3].equal(theirs[-1])  # no object
    (report,) = reports
    assert '2 of 3 were taken over' in report
    assert '(car, cat)' in report
    assert model.panoptic_head.query_embed.weight.equal(
        teacher.panoptic_head.query_embed.weight
    )


def test_as_many_classes_in_another_order_are_told_apart(
    huggingface, teacher, tmp_path
):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    model = model_of(*METAINFO['classes'][::-1])
    load_checkpoint(model, str(folder))
    ours = model.panoptic_head.cls_embed.bias
    theirs = teacher.panoptic_head.cls_embed.bias
    assert ours[:-1].equal(theirs[:-1].flip(0))
    assert ours[-1] == theirs[-1]


def test_without_names_the_class_head_keeps_its_initial_values(
    reference, tmp_path, reports
):
    torch.save(reference, tmp_path / 'file.pth')
    model = model_of('cat', 'dog')
    initial = model.state_dict()[HEAD].clone()
    load_checkpoint(model, str(tmp_path / 'file.pth'))
    assert model.state_dict()[HEAD].equal(initial)
    (report,) = reports
    assert 'At initial values: panoptic_head.cls_embed.' in report
    assert '0 of 2 were taken over by name.' in report


def test_names_may_be_given_for_a_file_without(reference, teacher, tmp_path):
    torch.save(reference, tmp_path / 'file.pth')
    model = model_of('cat', 'bus', checkpoint_classes=METAINFO['classes'])
    initial = model.state_dict()[HEAD].clone()
    load_checkpoint(model, str(tmp_path / 'file.pth'))
    theirs = teacher.state_dict()[HEAD]
    assert model.state_dict()[HEAD][0].equal(theirs[1])
    assert model.state_dict()[HEAD][1].equal(initial[1])


def test_an_empty_list_of_names_takes_over_no_row(huggingface, tmp_path):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    model = model_of('cat', 'dog', checkpoint_classes=[])
    initial = model.state_dict()[HEAD].clone()
    load_checkpoint(model, str(folder))
    assert model.state_dict()[HEAD].equal(initial)


def test_our_checkpoints_bring_their_names_along(teacher, tmp_path):
    path = tmp_path / 'ours.pth'
    meta = dict(dataset_meta=dict(classes=METAINFO['classes']))
    torch.save(dict(state_dict=teacher.state_dict(), meta=meta), path)
    model = model_of('dog')
    load_checkpoint(model, str(path))
    theirs = teacher.state_dict()[HEAD]
    assert model.state_dict()[HEAD].equal(theirs[[3, -1]])


def test_other_queries_keep_their_initial_values_in_training(
    reference, teacher, reports
):
    cfg = tiny_model()
    cfg.panoptic_head.num_queries = 12
    model = build_model(cfg, seed=2)
    initial = model.panoptic_head.query_embed.weight.detach().clone()
    model.load_state_dict(reference)
    assert model.panoptic_head.query_embed.weight.equal(initial)
    assert model.state_dict()[HEAD].equal(teacher.state_dict()[HEAD])
    assert 'At initial values: panoptic_head.query_embed.' in reports[0]


def test_inference_refuses_other_classes_and_says_which(
    reference, inference, tmp_path
):
    path = tmp_path / 'file.pth'
    torch.save(reference, path)
    cfg = tiny_model(training=False)
    cfg.metainfo = dict(classes=['cat'], thing_classes=['cat'])
    model = build_model(cfg, seed=2)
    initial = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_checkpoint(model, str(path))
    message = str(error.value)
    assert message.startswith(f'{path} does not fit this config')
    assert '(7, 64) for (2, 64)' in message
    assert 'holds Swin of 16 channels, 20 queries, 6 classes' in message
    assert 'makes Swin of 16 channels, 20 queries, 1 classes' in message
    for name, value in model.state_dict().items():
        assert value.equal(initial[name])


def test_a_part_that_was_added_keeps_its_initial_values(reference, reports):
    model = build_model(tiny_model(), seed=2)
    model.neck = torch.nn.Linear(2, 2)
    initial = model.neck.weight.detach().clone()
    model.load_state_dict(reference)
    assert model.neck.weight.equal(initial)
    assert 'At initial values: neck.' in reports[0]


def test_a_backbone_of_another_kind_is_refused(reference, training):
    other = {
        name.replace('backbone.layers.', 'backbone.stages.')
        if 'norm' not in name
        else name: value
        for name, value in reference.items()
    }
    with pytest.raises(ValueError, match='entries are not known'):
        training.load_state_dict(other)


# ---------------------------------------------------------------------------
# Files that are not what they should be
# ---------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors', 'pkl'])
def test_a_truncated_download_is_told(
    kind, reference, huggingface, inference, tmp_path
):
    path = tmp_path / 'file.pth'
    if kind == 'safetensors':
        save_file(huggingface, path)
    elif kind == 'pkl':
        arrays = {name: value.numpy() for name, value in reference.items()}
        path.write_bytes(pickle.dumps(dict(model=arrays)))
    else:
        torch.save(
            reference, path, _use_new_zipfile_serialization=kind == 'zip'
        )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    initial = {n: v.clone() for n, v in inference.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_checkpoint(inference, str(path))
    assert f'{path} ({len(content) // 2} bytes)' in str(error.value)
    assert 'Is the download complete?' in str(error.value)
    for name, value in inference.state_dict().items():
        assert value.equal(initial[name])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'<!DOCTYPE html><html>404</html>', 'it is a web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'GIF89a', 'neither a file of PyTorch, safetensors nor a pickle'),
    ],
)
def test_what_is_no_checkpoint_is_named(content, message, tmp_path):
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_weights_of_another_model_are_called_so(inference, tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save({'conv1.weight': torch.ones(1)}, path)
    with pytest.raises(ValueError) as error:
        load_checkpoint(inference, str(path))
    assert 'not the weights of a OneFormer' in str(error.value)
    assert "'conv1.weight'" in str(error.value)


def test_weights_without_a_task_token_are_of_another_model(teacher, inference):
    mask2former = {
        name: value
        for name, value in teacher.state_dict().items()
        if 'task_token' not in name
    }
    with pytest.raises(ValueError, match='not the weights of a OneFormer'):
        inference.load_state_dict(mask2former)


def test_other_files_are_left_as_they_are(tmp_path):
    path = tmp_path / 'swin.pth'
    torch.save(dict(model={'patch_embed.norm.bias': torch.ones(2)}), path)
    content = CheckpointLoader.load_checkpoint(str(path))
    assert list(content) == ['model']
    assert content['model']['patch_embed.norm.bias'].tolist() == [1, 1]


def test_a_file_that_would_run_code_is_refused(reference, tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(dict(model=reference, args=Namespace(lr=1)), path)
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    assert '--trust-pickle' in str(error.value)
    assert str(path) in str(error.value)
    content = read_checkpoint(path, trust_pickle=True)
    assert content['state_dict'].keys() == reference.keys()


class Evil:
    def __reduce__(self):
        return print, ('ran code',)


def test_a_pickle_that_would_run_code_is_refused(reference, tmp_path, capsys):
    path = tmp_path / 'file.pkl'
    arrays = {name: value.numpy() for name, value in reference.items()}
    path.write_bytes(pickle.dumps(dict(model=arrays, extra=Evil())))
    with pytest.raises(ValueError, match='builtins.print'):
        read_checkpoint(path)
    assert 'ran code' not in capsys.readouterr().out
    content = read_checkpoint(path, trust_pickle=True)
    assert content['state_dict'].keys() == reference.keys()
    assert 'ran code' in capsys.readouterr().out


def test_a_pickle_in_a_pickle_is_no_way_around(tmp_path, capsys):
    inner = tmp_path / 'inner'
    torch.save(Evil(), inner, _use_new_zipfile_serialization=False)

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.read_bytes(),)

    path = tmp_path / 'file.pkl'
    path.write_bytes(pickle.dumps(dict(model=dict(a=Outer()))))
    with pytest.raises(ValueError, match='could run code'):
        read_checkpoint(path)
    assert 'ran code' not in capsys.readouterr().out


def test_what_mmengine_writes_beside_weights_is_read(teacher, tmp_path):
    path = tmp_path / 'ours.pth'
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        state_dict=teacher.state_dict(),
        meta=dict(iter=5),
        message_hub=dict(log_scalars=dict(loss=history)),
        optimizer=dict(lr=np.float64(0.1)),
    )
    torch.save(content, path)
    found = read_checkpoint(path)
    assert found['meta'] == dict(iter=5)
    assert found['message_hub']['log_scalars']['loss'].mean() == 1.5


def test_a_folder_without_weights_says_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match='model.safetensors'):
        read_checkpoint(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(FileNotFoundError, match='gone.safetensors'):
        read_checkpoint(tmp_path)


def test_a_path_that_is_nothing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
        read_checkpoint(tmp_path / 'none.pth')


def test_a_zip_that_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / 'file.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.txt', 'hello')
    with pytest.raises(ValueError, match='cannot be read as a checkpoint'):
        read_checkpoint(path)


def test_an_address_is_downloaded_once(
    reference, inference, teacher, tmp_path, monkeypatch
):
    torch.save(dict(model=reference), tmp_path / 'there.pth')
    requests = []

    def download(url: str, target: str) -> None:
        requests.append(url)
        (tmp_path / 'there.pth').rename(target)

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    for _ in range(2):
        load_weights(inference, 'https://example.org/a/there.pth?raw=1')
    assert requests == ['https://example.org/a/there.pth?raw=1']
    assert_loaded(inference, teacher)


# ---------------------------------------------------------------------------
# Damaged, odd and crafted content
# ---------------------------------------------------------------------------


@pytest.mark.parametrize('part', ['data/0', 'data.pkl', 'version'])
def test_a_zip_with_a_wrong_checksum_is_refused(part, tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(dict(a=torch.arange(9)), path)
    with zipfile.ZipFile(path) as archive:
        (entry,) = (
            e for e in archive.infolist() if e.filename.endswith(f'/{part}')
        )
        content = archive.read(entry)
    whole = path.read_bytes()
    start = whole.index(content, entry.header_offset)
    damaged = bytearray(whole)
    damaged[start] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match='checksum of its entry') as e:
        read_checkpoint(path)
    assert str(path) in str(e.value)


def test_a_compressed_zip_is_refused(tmp_path):
    plain, path = tmp_path / 'plain.pth', tmp_path / 'file.pth'
    torch.save(dict(a=torch.zeros(9)), plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match='is compressed'):
        read_checkpoint(path)


def test_a_program_of_torchscript_is_refused(tmp_path):
    path = tmp_path / 'file.pth'
    torch.jit.script(torch.nn.Linear(1, 1)).save(path)
    with pytest.raises(CheckpointError, match='TorchScript') as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pkl'])
def test_any_damage_is_an_error_that_names_the_file(kind, tmp_path):
    """Cut and changed anywhere: never another exception, never a crash."""
    path = tmp_path / 'file.pth'
    content = dict(model={'a.b': torch.arange(6.0), 'c': torch.ones(2, 2)})
    if kind == 'pkl':
        arrays = {n: v.numpy() for n, v in content['model'].items()}
        path.write_bytes(pickle.dumps(dict(model=arrays)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == 'zip')
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        for data in (whole[:place], bytes(damaged)):
            path.write_bytes(data)
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(
    'name', ['../weights.bin', '/etc/passwd', 'sub/weights.bin', '..', '.', '']
)
def test_shards_outside_their_folder_are_refused(name, tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    torch.save(dict(a=torch.ones(1)), tmp_path / 'weights.bin')
    index = folder / 'pytorch_model.bin.index.json'
    index.write_text(json.dumps(dict(weight_map=dict(a=name))))
    with pytest.raises(CheckpointError, match='outside its folder') as error:
        read_checkpoint(folder)
    assert str(index) in str(error.value)


def test_a_shard_that_links_out_of_its_folder_is_refused(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    torch.save(dict(a=torch.ones(1)), tmp_path / 'weights.bin')
    (folder / 'shard.bin').symlink_to(tmp_path / 'weights.bin')
    index = folder / 'pytorch_model.bin.index.json'
    index.write_text(json.dumps(dict(weight_map=dict(a='shard.bin'))))
    with pytest.raises(CheckpointError, match='outside its folder'):
        read_checkpoint(folder)


def test_shards_in_the_cache_of_the_hub_link_to_its_blobs(tmp_path):
    snapshot = tmp_path / 'models--a--b' / 'snapshots' / '0a1b'
    snapshot.mkdir(parents=True)
    blobs = tmp_path / 'models--a--b' / 'blobs'
    blobs.mkdir()
    torch.save(dict(a=torch.ones(1)), blobs / 'ffff')
    (snapshot / 'shard.bin').symlink_to('../../blobs/ffff')
    index = snapshot / 'pytorch_model.bin.index.json'
    index.write_text(json.dumps(dict(weight_map=dict(a='shard.bin'))))
    assert list(read_checkpoint(snapshot)) == ['a']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'is not valid JSON'),
        ('{"weight_map": ', 'is not valid JSON'),
        ('[' * 100_000, 'is not valid JSON'),
        ('[]', 'expected a JSON object, got list'),
        ('null', 'expected a JSON object, got NoneType'),
        ('{}', 'expected a weight_map'),
        ('{"weight_map": []}', 'expected a weight_map'),
        ('{"weight_map": {}}', 'expected a weight_map'),
        ('{"weight_map": {"a": 1}}', 'expected a weight_map'),
    ],
)
def test_an_odd_index_is_named(content, message, tmp_path):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(tmp_path)
    assert str(index) in str(error.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\xff\xfe', 'is not valid JSON'),
        (b'7', 'expected a JSON object, got int'),
        (b'{"id2label": ["cat"]}', 'id2label to name'),
        (b'{"id2label": {"one": "cat"}}', 'id2label to name'),
        (b'{"id2label": {"1": "cat"}}', 'id2label to name'),
        (b'{"id2label": {"0": 7}}', 'list of names under id2label'),
    ],
)
def test_an_odd_config_of_transformers_is_named(
    content, message, huggingface, tmp_path
):
    folder = folder_of_transformers(tmp_path / 'folder', huggingface)
    config = folder / 'config.json'
    config.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(folder)
    assert str(config) in str(error.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(state_dict=[1]), 'dict of weights under state_dict, got list'),
        (dict(meta=[1]), 'expected a dict under meta, got list'),
        (dict(meta=dict(dataset_meta='a')), 'under dataset_meta, got str'),
        (
            dict(meta=dict(dataset_meta=dict(classes='cat'))),
            'names under classes, got str',
        ),
        (
            dict(meta=dict(dataset_meta=dict(classes=[1]))),
            'names under classes',
        ),
        (dict(meta=dict(tasks=7)), 'names under tasks, got int'),
        (
            dict(state_dict={'panoptic_head.task_token.a': 'text'}),
            'got a str under panoptic_head.task_token.a',
        ),
        (
            dict(
                state_dict={'panoptic_head.task_token.a': torch.ones(1), 3: 1}
            ),
            'got a int under another key',
        ),
    ],
)
def test_odd_content_is_named(change, message, teacher, tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(dict(state_dict=teacher.state_dict(), meta={}) | change, path)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
