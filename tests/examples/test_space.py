"""The Space starts with the models that its variable names."""

import re
from pathlib import Path

import pytest
import yaml

from projects.oneformer.version import __version__
from tests.examples.loading import EXAMPLES, load_example
from tests.serve.conftest import models  # noqa: F401

ROOT = Path(__file__).parents[2]
SPACE = EXAMPLES / 'space'


def pins_of(path: Path) -> dict[str, str]:
    """Return the pinned versions of a file, by package."""
    return dict(
        re.findall(r'^([\w-]+)==([\w.]+)$', path.read_text(), re.MULTILINE)
    )


def test_the_space_serves_a_saved_model(
    models,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    pytest.importorskip('gradio', reason='needs gradio: make test-web')
    models[0].inferencer.save_pretrained(tmp_path / 'mine')
    monkeypatch.setenv('MODEL', str(tmp_path / 'mine'))
    app = load_example('space/app.py')
    launched = []

    def launch(page, **options):
        launched.append((list(page.models), options))

    monkeypatch.setattr(app.Page, 'launch', launch)
    app.main()
    assert launched == [([str(tmp_path / 'mine')], dict(host=None))]


def test_the_card_and_the_requirements_name_the_tested_versions():
    card = yaml.safe_load((SPACE / 'README.md').read_text().split('---')[1])
    pins = pins_of(ROOT / 'constraints' / 'onedl.txt')
    assert card['sdk_version'] == pins['gradio']
    assert (SPACE / card['app_file']).is_file()
    own = pins_of(SPACE / 'requirements.txt')
    assert own and {name: pins[name] for name in own} == own
    wheel = f'./oneformer_openmmlab-{__version__}-py3-none-any.whl'
    assert wheel in (SPACE / 'requirements.txt').read_text().splitlines()
