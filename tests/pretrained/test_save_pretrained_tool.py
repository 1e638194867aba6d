"""tools/model_converters/save_pretrained.py: folders without Python."""

import json
import sys
from pathlib import Path

import pytest

from projects.oneformer.inferencer import OneFormerInferencer
from tests.pretrained.conftest import tiny_config
from tests.pretrained.test_folder import FILES, assert_same

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'model_converters'))

import save_pretrained  # noqa: E402
from _cli import one_line_errors  # noqa: E402


@pytest.fixture
def run(monkeypatch):
    def run(*arguments):
        line = ['save_pretrained.py', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', line)
        with one_line_errors():
            save_pretrained.main()

    return run


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'zoo.py'
    config = tiny_config()
    config.custom_imports = dict(imports=['projects.oneformer'])
    config.dump(path)
    return path


def test_a_trained_checkpoint_becomes_a_folder(
    run, config, checkpoint, inferencer, image, tmp_path
):
    scores = tmp_path / 'scores.json'
    scores.write_text(json.dumps({'panoptic/PQ': 40.25}))
    folder = tmp_path / 'zoo'
    run(
        *(checkpoint, folder, '--config', config, '--data', 'Zoo 2'),
        *('--licence', 'cc0-1.0', '--scores', scores),
    )
    assert {path.name for path in folder.iterdir()} == FILES
    card = (folder / 'README.md').read_text()
    assert 'license: cc0-1.0' in card and '| panoptic | PQ | 40.2 |' in card
    loaded = OneFormerInferencer.from_pretrained(folder, device='cpu')
    assert_same(inferencer, loaded, image)


def test_a_folder_is_halved_and_replaced(run, folder, tmp_path):
    target = tmp_path / 'half'
    run(folder, target, '--float16')
    size = (target / 'model.safetensors').stat().st_size
    full = (folder / 'model.safetensors').stat().st_size
    assert size < 0.56 * full
    with pytest.raises(SystemExit, match='--overwrite'):
        run(folder, target)
    run(folder, target, '--overwrite')
    assert (target / 'model.safetensors').stat().st_size == full


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'Give a folder to write, --push-to-hub, or both'),
        (['out', '--cfg-options', 'a=1'], '--cfg-options needs --config'),
        (['out', '--scores', 'nowhere'], 'nowhere does not exist: expected'),
        (['out', '--config', 'nowhere.py'], 'Config nowhere.py does not exi'),
    ],
)
def test_what_is_missing_is_named(
    run, folder, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run(folder, *arguments)
    assert list(tmp_path.iterdir()) == []
