"""The command ``oneformer serve``."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*arguments, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-u', '-m', 'oneformer', 'serve', *arguments],
        cwd=folder,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['config.py'], 'Config config.py needs its checkpoint'),
        (['zoo', '--models', 'other.py'], 'Config other.py needs its check'),
        (['zoo', '--port', 'http'], "expected a port from 1 to 65535, got 'h"),
        (['zoo', '--port', '70000'], 'expected a port from 1 to 65535, got'),
    ],
)
def test_a_wrong_command_line_ends_with_one_line(arguments, message, tmp_path):
    process = start(*arguments, folder=tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert message in output.splitlines()[-1]


@pytest.mark.web
def test_the_command_serves_saved_models_on_this_machine(models, tmp_path):
    pytest.importorskip('gradio', reason='needs gradio: make test-web')
    for folder in ('one', 'two'):
        models[0].inferencer.save_pretrained(tmp_path / folder / 'zoo')
    process = start('one/zoo', '--models', 'two/zoo', folder=tmp_path)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            found = re.search(r'http://[\w.]+:\d+', line)
            if found:
                break
        else:
            raise AssertionError(''.join(lines))
        assert found[0].startswith('http://127.0.0.1:')
        with urllib.request.urlopen(found[0], timeout=30) as answer:
            text = answer.read().decode()
        assert 'OneFormer' in text
        assert '"zoo"' in text and '"zoo (2)"' in text
    finally:
        process.terminate()
        process.communicate(timeout=30)
