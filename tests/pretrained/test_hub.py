"""Models go to the Hub and come back, against an imitation of it."""

import json

import pytest
from safetensors.torch import load_file

from projects.oneformer.errors import FileError, InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.pretrained import CardFacts
from projects.oneformer.pretrained.hub import download_folder
from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from tests.model_configs import build_model
from tests.pretrained.conftest import tiny_config
from tests.pretrained.hub_server import TOKEN, serve
from tests.pretrained.test_eomt_folder import eomt_config
from tests.pretrained.test_folder import FILES, assert_same

pytest.importorskip(
    'huggingface_hub', reason='models of the Hub need its client'
)
NOWHERE = 'http://127.0.0.1:9'  # the port of a service that discards


@pytest.fixture
def connect(monkeypatch, tmp_path):
    """Return a function that does what HF_ENDPOINT does at import."""

    def to(address):
        path = '/{repo_id}/resolve/{revision}/{filename}'
        for name, value in {
            'constants.ENDPOINT': address,
            'constants.HF_HUB_CACHE': str(tmp_path / 'cache'),
            'constants.HF_TOKEN_PATH': str(tmp_path / 'token'),
            'file_download.HUGGINGFACE_CO_URL_TEMPLATE': address + path,
        }.items():
            monkeypatch.setattr(f'huggingface_hub.{name}', value)

    return to


@pytest.fixture
def hub(connect):
    with serve() as hub:
        connect(hub.address)
        yield hub


def test_a_model_is_pushed_and_pulled(hub, inferencer, image):
    facts = CardFacts('Zoo 2', 'cc-by-4.0', dict(PQ=40.5))
    address = inferencer.push_to_hub('me/zoo', facts=facts, token=TOKEN)
    assert address == f'{hub.address}/me/zoo'
    assert set(hub.repos['me/zoo']) == FILES
    card = hub.repos['me/zoo']['README.md'].decode()
    assert "from_pretrained('me/zoo')" in card and 'cc-by-4.0' in card
    pulled = OneFormerInferencer.from_pretrained('me/zoo', device='cpu')
    assert_same(inferencer, pulled, image)


def test_a_second_pull_downloads_nothing(hub, inferencer, connect):
    inferencer.push_to_hub('me/zoo', token=TOKEN)
    folder = download_folder('me/zoo')
    hub.requests.clear()
    assert download_folder('me/zoo') == folder
    assert not [r for r in hub.requests if '/resolve/' in r]
    connect(NOWHERE)  # nor does it need the network
    assert download_folder('me/zoo') == folder
    assert len(load_file(folder / 'model.safetensors')) > 100


def test_a_oneformer_of_transformers_is_pulled(hub, inferencer, tmp_path):
    path = tmp_path / 'theirs'
    save_huggingface_folder(tiny_config(), inferencer.model.state_dict(), path)
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    # The Hub has the weights in a second format, which is not downloaded.
    hub.repos['lab/theirs'] = files | {'pytorch_model.bin': b'pickle'}
    pulled = OneFormerInferencer.from_pretrained('lab/theirs', device='cpu')
    assert pulled.dataset_meta['classes'][1] == 'cat'
    assert not [r for r in hub.requests if r.endswith('.bin')]


def test_an_eomt_of_transformers_is_pulled(hub, tmp_path):
    config = eomt_config()
    model = build_model(config.model, seed=3)
    path = tmp_path / 'theirs'
    save_huggingface_folder(config, model.state_dict(), path)
    hub.repos['lab/eomt'] = {f.name: f.read_bytes() for f in path.iterdir()}
    pulled = OneFormerInferencer.from_pretrained('lab/eomt', device='cpu')
    for name, value in model.state_dict().items():
        assert pulled.model.state_dict()[name].equal(value), name


def test_weights_of_another_model_are_not_downloaded(hub):
    hub.repos['lab/bert'] = {
        'config.json': json.dumps(dict(model_type='bert')).encode(),
        'model.safetensors': b'large',
    }
    with pytest.raises(InputError, match="'bert', expected a model"):
        OneFormerInferencer.from_pretrained('lab/bert')
    assert not [r for r in hub.requests if r.endswith('.safetensors')]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'weights.bin': b''}, 'has no config.json'),
        ({'config.json': b'{"model_type": "oneformer"}'}, 'has no weights'),
        ({'config.json': b'<html>'}, 'is not valid JSON'),
    ],
)
def test_a_repository_without_a_model_is_refused(hub, files, message):
    hub.repos['lab/empty'] = files
    with pytest.raises(InputError, match=message):
        OneFormerInferencer.from_pretrained('lab/empty')


def test_a_name_that_the_hub_does_not_know_is_refused(hub):
    with pytest.raises(InputError, match="'me/zooo' is no folder or file he"):
        OneFormerInferencer.from_pretrained('me/zooo')


def test_a_revision_that_does_not_exist_is_named(hub, inferencer):
    inferencer.push_to_hub('me/zoo', token=TOKEN)
    with pytest.raises(InputError, match="no revision 'v9'"):
        OneFormerInferencer.from_pretrained('me/zoo', revision='v9')


def test_a_gated_model_says_what_to_do(hub, inferencer):
    inferencer.push_to_hub('me/zoo', token=TOKEN)
    hub.gated.add('me/zoo')
    with pytest.raises(InputError, match='is gated: accept its conditions'):
        OneFormerInferencer.from_pretrained('me/zoo')


def test_without_a_network_the_error_says_so(connect):
    connect(NOWHERE)
    with pytest.raises(FileError, match='the Hub cannot be reached'):
        OneFormerInferencer.from_pretrained('me/zoo')


def test_a_push_without_a_network_says_so(connect, inferencer):
    connect(NOWHERE)
    with pytest.raises(FileError, match='the Hub cannot be reached'):
        inferencer.push_to_hub('me/zoo', token=TOKEN)


def test_a_push_needs_a_token_that_the_hub_accepts(hub, inferencer):
    with pytest.raises(InputError, match=r'hf auth'):
        inferencer.push_to_hub('me/zoo', token='hf_wrong')
    assert hub.repos == {}


def test_a_card_that_the_hub_refuses_is_an_error_of_the_user(hub, inferencer):
    with pytest.raises(InputError, match='"license" must be one of'):
        inferencer.push_to_hub(
            'me/zoo', facts=CardFacts(licence='My Own'), token=TOKEN
        )
    assert hub.repos['me/zoo'] == {}
