"""`make setup` finds a Python that can make the environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ('bash', 'echo', 'env', 'mkdir', 'sh', 'test', 'touch')
# What asks for anything but an environment gets the answer of this Python.
USABLE = f"""#!/bin/sh
if [ "$1" = -m ]; then echo "made by $0"; exit 1; fi
exec '{sys.executable}' "$@"
"""
# A launcher of pyenv whose version is not the chosen one.
LAUNCHER = '#!/bin/sh\necho "command not found" >&2\nexit 127\n'
# Pythons of which the first lacks ensurepip and the others are too old or new.
DEBIAN = f"""#!/bin/sh
[ "$1" = -m ] && echo "made by $0"
exec '{sys.executable}' -c "import sys; sys.modules['ensurepip'] = None; $2"
"""
OTHER = """#!/bin/sh
[ "$1" = -m ] && echo "made by $0"
exec '{python}' -c "import sys; sys.version_info = {version}; $2"
"""


@pytest.fixture
def setup(tmp_path):
    """Return what runs ``make setup`` where only some Pythons are."""
    make = shutil.which('make')
    if make is None:
        pytest.skip('needs make')
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(shutil.which(name))

    def run(pythons: dict[str, str], *arguments: str):
        for name, script in pythons.items():
            (tmp_path / name).write_text(script)
            (tmp_path / name).chmod(0o755)
        environment = dict(os.environ, PATH=str(tmp_path))
        # What a `make` around the tests was told is not for this one.
        for name in ('PYTHON', 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL'):
            environment.pop(name, None)
        return subprocess.run(
            [make, 'setup', f'VENV={tmp_path}/venv', *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    'python3',
    [
        LAUNCHER,
        DEBIAN,
        OTHER.format(python=sys.executable, version=(3, 9, 25)),
        OTHER.format(python=sys.executable, version=(3, 14, 0)),
    ],
    ids=['launcher', 'without ensurepip', 'too old', 'too new'],
)
def test_a_python_that_cannot_make_the_environment_is_passed_over(
    setup, tmp_path, python3
):
    pythons = {'python3': python3, 'python3.11': LAUNCHER}
    process = setup(pythons | {'python3.12': USABLE})
    assert process.stdout.splitlines() == [f'made by {tmp_path}/python3.12']


def test_the_first_usable_python_makes_the_environment(setup, tmp_path):
    process = setup({'python3': USABLE, 'python3.12': USABLE})
    assert process.stdout.splitlines() == [f'made by {tmp_path}/python3']


def test_a_python_that_was_named_is_the_only_one_tried(setup, tmp_path):
    named = tmp_path / 'named'
    process = setup({'python3': USABLE, 'named': LAUNCHER}, f'PYTHON={named}')
    (line,) = process.stdout.splitlines()
    assert f'Tried: {named}. Name another' in line
    process = setup({'named': USABLE}, f'PYTHON={named}')
    assert process.stdout.splitlines() == [f'made by {named}']


def test_without_a_usable_python_one_line_says_what_is_needed(setup):
    process = setup({'python3': LAUNCHER})
    assert process.returncode == 2
    (line,) = process.stdout.splitlines()
    assert line.startswith('Needed: a Python 3.10 to 3.13')
    assert 'make setup PYTHON=' in line
