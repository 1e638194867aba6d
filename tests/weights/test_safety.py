"""Whatever loads a crafted file: nothing runs, and the error names it."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.weights import (
    PretrainedBackbone,
    PretrainedInOrder,
    load_weights,
    read_checkpoint,
)
from projects.oneformer.weights import addresses as addresses_module
from tests.model_configs import tiny_model
from tests.weights.crafted import (
    CONTAINERS,
    by_getattr,
    by_system,
    pickled,
    program,
)

ROOT = Path(__file__).parents[2]
FORMATS = [make.__name__ for make in CONTAINERS]


class Toy(BaseModel):
    """The smallest model that mmengine trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, values, mode: str = 'tensor') -> dict:
        return dict(loss=self.layer(torch.ones(1, 1)).sum())


def runner(folder: Path, **options) -> Runner:
    return Runner(
        model=Toy(),
        work_dir=str(folder),
        experiment_name=folder.name,
        train_dataloader=dict(
            dataset=[torch.zeros(1)] * 4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(logger=None, checkpoint=None),
        default_scope='mmengine',
        **options,
    )


def from_config(path: str, folder: Path) -> None:
    runner(folder, load_from=path).train()


def resumed(path: str, folder: Path) -> None:
    runner(folder, load_from=path, resume=True).train()


def initial_swin(path: str, folder: Path) -> None:
    swin = tiny_model().backbone
    swin.update(type='mmdet.SwinTransformer', convert_weights=True)
    swin.init_cfg = dict(type='Pretrained', checkpoint=path)
    MODELS.build(swin).init_weights()


def initial_resnet(path: str, folder: Path) -> None:
    resnet = dict(type='mmdet.ResNet', depth=18)
    resnet['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    MODELS.build(resnet).init_weights()


def in_order(path: str, folder: Path) -> None:
    package = folder / 'crafted_package'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'file.pth').write_bytes(Path(path).read_bytes())
    sys.path.insert(0, str(folder))
    try:
        PretrainedInOrder('crafted_package', 'file.pth')(nn.Linear(1, 1))
    finally:
        sys.path.remove(str(folder))
        del sys.modules['crafted_package']


def converted(path: str, folder: Path) -> None:
    tool = ROOT / 'tools' / 'model_converters' / 'convert_checkpoint.py'
    arguments = [str(tool), path, str(folder / 'out.pth')]
    run_tool(tool, arguments)


def verified(path: str, folder: Path) -> None:
    tool = ROOT / 'tools' / 'verify_checkpoint.py'
    run_tool(tool, [str(tool), '--weights', path])


def run_tool(tool: Path, arguments: list[str]) -> None:
    argv, path = sys.argv, list(sys.path)
    sys.argv = arguments
    sys.path.insert(0, str(ROOT / 'tools'))
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as error:
        raise ValueError(error.code) from None
    finally:
        sys.argv, sys.path[:] = argv, path


def inferred(path: str, folder: Path) -> None:
    config = Config(dict(model=tiny_model(), default_scope='mmdet'))
    OneFormerInferencer(config, path, device='cpu')


WAYS = {
    'read_checkpoint': lambda path, _: read_checkpoint(path),
    'load_weights': lambda path, _: load_weights(nn.Linear(1, 1), path),
    'load_checkpoint': lambda path, _: load_checkpoint(nn.Linear(1, 1), path),
    'CheckpointLoader': lambda path, _: CheckpointLoader.load_checkpoint(path),
    'load_from': from_config,
    'resume': resumed,
    'Pretrained of Swin': initial_swin,
    'Pretrained of ResNet': initial_resnet,
    'PretrainedBackbone': lambda path, _: PretrainedBackbone(path)(
        nn.Linear(1, 1)
    ),
    'PretrainedInOrder': in_order,
    'inferencer': inferred,
    'convert_checkpoint': converted,
    'verify_checkpoint': verified,
}


@pytest.fixture(params=FORMATS)
def crafted(request, tmp_path):
    """A crafted file of each format, and the file that it would make."""
    make = CONTAINERS[FORMATS.index(request.param)]
    marker = tmp_path / 'marker'
    path = tmp_path / 'crafted.pth'
    path.write_bytes(make(pickled(by_getattr(marker))))
    return path, marker


@pytest.mark.parametrize('way', WAYS)
def test_no_way_of_loading_runs_a_crafted_file(way, crafted, tmp_path):
    path, marker = crafted
    folder = tmp_path / way.replace(' ', '-')
    folder.mkdir()
    with pytest.raises(ValueError, match='could run code') as error:
        WAYS[way](str(path), folder)
    assert not marker.exists()
    name = 'file.pth' if way == 'PretrainedInOrder' else path.name
    assert name in str(error.value)


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'shard'])
def test_no_folder_runs_a_crafted_file(name, crafted, tmp_path):
    path, marker = crafted
    folder = tmp_path / 'folder'
    folder.mkdir()
    path.rename(folder / name)
    index = dict(weight_map=dict(a=name))
    (folder / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match='could run code') as error:
        load_checkpoint(nn.Linear(1, 1), str(folder))
    assert not marker.exists()
    assert str(folder / name) in str(error.value)


def test_no_address_runs_a_crafted_file(crafted, tmp_path, monkeypatch):
    path, marker = crafted
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda _, target: Path(target).write_bytes(path.read_bytes()),
    )
    monkeypatch.setitem(
        addresses_module.COLLECTIONS,
        'torchvision://',
        lambda: {'resnet18': 'https://example.org/resnet18.pth'},
    )
    for address in ('https://example.org/a.pth', 'torchvision://resnet18'):
        with pytest.raises(ValueError, match='could run code'):
            CheckpointLoader.load_checkpoint(address)
    assert not marker.exists()


def test_a_declared_type_opens_no_way(tmp_path):
    """As where another package declares dangerous names safe."""
    marker, path = tmp_path / 'marker', tmp_path / 'crafted.pth'
    path.write_bytes(CONTAINERS[0](pickled(by_system(marker))))
    with (
        torch.serialization.safe_globals([getattr, eval, exec]),
        pytest.raises(ValueError, match='asks for os.system'),
    ):
        read_checkpoint(path)
    assert not marker.exists()


def test_trusting_a_file_is_asked_for_explicitly(tmp_path):
    marker, path = tmp_path / 'marker', tmp_path / 'crafted.pth'
    path.write_bytes(CONTAINERS[0](pickled(by_system(marker))))
    read_checkpoint(path, trust_pickle=True)
    assert marker.exists()


# ---------------------------------------------------------------------------
# Configs in checkpoints
# ---------------------------------------------------------------------------


@pytest.fixture
def with_configs(tmp_path):
    """A checkpoint of a run, with a program where the config's text is."""
    marker, path = tmp_path / 'marker', tmp_path / 'iter_2.pth'
    trained = runner(tmp_path / 'trained')
    trained.train()
    trained.save_checkpoint(
        str(tmp_path), path.name, meta=dict(iter=2, epoch=0), by_epoch=False
    )
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = content['meta']['cfg'] = program(marker)
    content['message_hub']['runtime_info']['cfg'] = program(marker)
    torch.save(content, path)
    return path, marker


def test_resuming_runs_no_config_of_the_checkpoint(with_configs, tmp_path):
    path, marker = with_configs
    resuming = runner(
        tmp_path / 'resumed',
        load_from=str(path),
        resume=True,
        custom_hooks=[],
    )
    resuming.train()
    assert not marker.exists()
    assert resuming.iter == 2
    config = resuming.message_hub.get_info('cfg')
    assert 'open(' not in config


def test_texts_of_configs_are_left_out(with_configs):
    path, _ = with_configs
    content = read_checkpoint(path)
    assert not {'config', 'cfg'} & set(content['meta'])
    assert 'cfg' not in content['message_hub']['runtime_info']
    assert content['meta']['iter'] == 2


def test_mmengine_itself_runs_such_a_config(with_configs):
    """Otherwise the tests above could not fail."""
    path, marker = with_configs
    text = torch.load(path, weights_only=False)['meta']['config']
    Config.fromstring(text, file_format='.py')
    assert marker.exists()
