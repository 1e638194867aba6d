"""The commands of the Dockerfile are there, as no test builds the image."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def instructions() -> list[tuple[str, str]]:
    """Pairs of an instruction and its arguments, on one line each."""
    text = (ROOT / 'Dockerfile').read_text()
    text = re.sub(r'^#.*\n', '', text, flags=re.MULTILINE)
    lines = text.replace('\\\n', ' ').splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def arguments_of(instructions, name: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == name]


def test_the_image_is_set_up_by_a_command_that_make_knows(instructions):
    if shutil.which('make') is None:
        pytest.skip('needs make')
    (line,) = (
        rest
        for rest in arguments_of(instructions, 'RUN')
        if 'make setup' in rest
    )
    command = shlex.split(line[line.index('make ') :])
    makefile = (ROOT / 'Makefile').read_text()
    for setting in command[2:]:
        assert f'\n{setting.partition("=")[0]} ?=' in makefile, setting
    command = [part.replace('${STACK}', 'onedl') for part in command]
    subprocess.run(
        [*command, '--dry-run'], cwd=ROOT, check=True, capture_output=True
    )


def test_what_is_copied_into_the_image_is_there(instructions):
    for line in arguments_of(instructions, 'COPY'):
        *sources, _ = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists(), source


def test_nothing_that_the_set_up_needs_stays_outside_of_the_image():
    ignored = {
        line.strip('/')
        for line in (ROOT / '.dockerignore').read_text().splitlines()
        if not line.startswith('#')
    }
    needed = ('Makefile', 'setup.py', 'pyproject.toml', 'README.md')
    needed += ('constraints', 'oneformer', 'projects', 'configs', 'tools')
    for name in needed:
        assert (ROOT / name).exists()
        assert name not in ignored


def test_the_image_starts_a_command_of_the_package(instructions):
    (line,) = arguments_of(instructions, 'CMD')
    python, *arguments = json.loads(line)
    assert python == 'python'
    subprocess.run(
        [sys.executable, *arguments, '--help'],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
