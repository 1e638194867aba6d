"""Addresses lead to our reader or to an explanation."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from projects.oneformer.weights import CheckpointError, addresses


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Files by their address; the addresses that were asked for."""
    files, requests = {}, []

    def download(address: str, target: str) -> None:
        requests.append(address)
        if address not in files:
            raise URLError('no such host')
        torch.save(files[address], target)

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    return files, requests


def load(address: str) -> dict:
    return CheckpointLoader.load_checkpoint(address)


def test_every_beginning_of_a_path_leads_to_a_loader_of_ours():
    for prefix, loader in CheckpointLoader._schemes.items():
        assert loader.__module__ == addresses.__name__, prefix


def test_files_of_equal_names_are_kept_apart(web):
    files, requests = web
    first, second = (
        f'https://example.org/{name}/pytorch_model.bin' for name in 'ab'
    )
    files[first], files[second] = dict(a=1), dict(a=2)
    for _ in range(2):
        assert load(first) == dict(a=1)
        assert load(second) == dict(a=2)
    assert requests == [first, second]
    assert addresses.cache_file(first).name.endswith('-pytorch_model.bin')


def test_a_query_is_a_part_of_the_address(web):
    files, _ = web
    files['http://example.org/get?id=1'] = dict(a=1)
    files['http://example.org/get?id=2'] = dict(a=2)
    assert load('http://example.org/get?id=1') == dict(a=1)
    assert load('http://example.org/get?id=2') == dict(a=2)


def test_a_failed_download_names_the_address(web):
    with pytest.raises(OSError, match='https://example.org/a.pth cannot be'):
        load('https://example.org/a.pth')


def test_a_broken_download_says_how_to_download_again(web):
    files, _ = web
    files['https://example.org/a.pth'] = dict(a=1)
    load('https://example.org/a.pth')
    target = addresses.cache_file('https://example.org/a.pth')
    target.write_bytes(target.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match='remove it to download') as e:
        load('https://example.org/a.pth')
    assert str(target) in str(e.value)


@pytest.mark.parametrize('scheme', ['torchvision', 'modelzoo'])
def test_models_of_torchvision_have_names(scheme, web):
    files, requests = web
    address = 'https://download.pytorch.org/models/resnet50-0676ba61.pth'
    files[address] = dict(a=1)
    assert load(f'{scheme}://resnet50') == dict(a=1)
    assert requests == [address]


@pytest.mark.parametrize('scheme', ['open-mmlab', 'openmmlab'])
def test_models_of_openmmlab_have_names(scheme, web):
    files, _ = web
    known = addresses.models_of_openmmlab()
    address = known['detectron2/resnet50_caffe']
    files[address] = dict(a=1)
    assert load(f'{scheme}://detectron2/resnet50_caffe') == dict(a=1)
    assert known['detectron/resnet50_caffe']


def test_a_model_that_a_collection_lacks_is_named(web):
    with pytest.raises(CheckpointError, match="there is no model 'resnet5'"):
        load('torchvision://resnet5')


@pytest.mark.parametrize(
    'address',
    [
        *('s3://bucket/a.pth', 'petrel://bucket/a.pth', 'x:s3://bucket/a.pth'),
        *('pavi://a.pth', 'mmcls://resnet50', 'ftp://example.org/a.pth'),
        *('file:///tmp/a.pth', 'HTTPS://example.org/a.pth'),
    ],
)
def test_other_addresses_are_refused_with_what_to_do(address):
    with pytest.raises(CheckpointError, match='Download the file') as error:
        load(address)
    assert str(error.value).startswith(address)


def test_paths_are_still_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(a=1), 's3.pth')
    for path in ('s3.pth', str(Path('s3.pth').absolute())):
        assert load(path) == dict(a=1)
