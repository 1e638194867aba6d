import os
import subprocess
import sys
from pathlib import Path

import pytest

from projects.oneformer import doctor

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def mixed_stacks(tmp_path_factory) -> Path:
    """Packages of both stacks, as far as their metadata tells."""
    site = tmp_path_factory.mktemp('site')
    for name in ('mmdet', 'onedl_mmdetection'):
        folder = site / f'{name}-3.3.0.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: 3.3.0\n'
        )
    return site


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )


def test_a_sound_installation_is_reported_with_what_will_run(capsys):
    assert doctor.report() == 0
    output = capsys.readouterr().out
    for name, _, _ in doctor.REQUIRED:
        assert f'\n  {name} ' in output
    assert 'mmcv operators' in output
    assert 'torch.float32   pytorch: ' in output
    assert output.endswith('OneFormer can run.\n')


def test_a_missing_package_is_reported_with_its_command(capsys, monkeypatch):
    missing = ('no_such_package', 'this test', 'pip install no-such-package')
    monkeypatch.setattr(doctor, 'REQUIRED', [missing])
    assert doctor.report() == 1
    output = capsys.readouterr().out
    assert 'Problem 1: no_such_package, needed for this test' in output
    assert '    pip install no-such-package\n' in output
    assert output.endswith('OneFormer cannot run.\n')


def test_importing_the_project_on_a_broken_stack_fails(mixed_stacks):
    result = run(mixed_stacks, '-c', 'import projects.oneformer')
    assert result.returncode == 1
    assert 'StackError: These packages are of different stacks' in (
        result.stderr
    )


def test_the_doctor_still_reports_on_a_broken_stack(mixed_stacks):
    result = run(mixed_stacks, '-m', 'projects.oneformer', 'doctor')
    assert result.returncode == 1
    assert result.stderr == ''
    assert 'Problem 1: These packages are of different stacks' in result.stdout
    assert 'pip uninstall -y ' in result.stdout


@pytest.mark.parametrize('arguments', [[], ['--help']])
def test_help_names_the_doctor(mixed_stacks, arguments):
    result = run(mixed_stacks, '-m', 'projects.oneformer', *arguments)
    assert result.returncode == 0
    assert 'doctor' in result.stdout
