"""The checks run in processes of their own, on small made-up packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from projects.oneformer import compat

ONEDL = {
    distribution.name: distribution.tested
    for distribution in compat.DISTRIBUTIONS
    if distribution.stack == 'onedl'
}
UPSTREAM = {
    distribution.name: distribution.tested
    for distribution in compat.DISTRIBUTIONS
    if distribution.stack == 'upstream' and distribution.default
}


@pytest.fixture
def site(tmp_path):
    """An empty folder of packages, with nothing but ``compat`` in it."""
    shutil.copy(compat.__file__, tmp_path)
    return tmp_path


def run(site: Path, code: str) -> subprocess.CompletedProcess:
    """Run ``code`` where no packages are installed but those of ``site``."""
    return subprocess.run(
        [sys.executable, '-S', '-c', f'import compat\n{code}'],
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )


def install(site: Path, packages: dict[str, str]) -> None:
    """Leave the trace of an installation: names and versions, no code."""
    for name, version in packages.items():
        folder = site / f'{name.replace("-", "_")}-{version}.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        )


@pytest.mark.parametrize('packages', [ONEDL, UPSTREAM])
def test_a_whole_stack_passes_without_importing_it(site, packages):
    install(site, packages)
    result = run(site, 'compat.check_stack(); import sys; print(*sys.modules)')
    assert result.returncode == 0
    assert result.stderr == ''
    assert not {'torch', 'mmcv', 'mmdet'} & set(result.stdout.split())


def test_no_stack_names_the_command_that_installs_one(site):
    error = run(site, 'compat.check_stack()').stderr
    assert 'StackError: Not installed: mmengine, mmcv, mmdet.' in error
    assert (
        f'pip install {" ".join(f"{k}=={v}" for k, v in ONEDL.items())}'
        in (error)
    )


def test_a_missing_part_is_installed_from_the_same_stack(site):
    packages = dict(UPSTREAM)
    del packages['mmcv-lite']
    install(site, packages)
    error = run(site, 'compat.check_stack()').stderr
    assert 'StackError: Not installed: mmcv.' in error
    assert error.endswith('    pip install mmcv-lite==2.1.0\n')


def test_a_source_tree_on_the_path_counts_as_installed(site):
    packages = dict(ONEDL)
    del packages['onedl-mmdetection']
    install(site, packages)
    (site / 'mmdet').mkdir()
    (site / 'mmdet' / '__init__.py').write_text('raise RuntimeError')
    assert run(site, 'compat.check_stack()').returncode == 0


@pytest.mark.parametrize(
    'packages',
    [
        {'onedl-mmengine': '0.10.12', 'mmdet': '3.3.0'},
        {'onedl-mmcv': '2.3.6', 'mmcv': '2.1.0'},
        {'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'},
    ],
)
def test_mixed_stacks_are_refused_with_a_way_out(site, packages):
    install(site, packages)
    error = run(site, 'compat.check_stack()').stderr
    assert 'StackError: These packages are of different stacks' in error
    for name in packages:
        assert name in error.partition('pip uninstall -y ')[2]
    assert '&& pip install' in error


def test_untested_versions_only_warn(site):
    install(site, {**UPSTREAM, 'mmdet': '4.0.0', 'mmengine': '0.10.9'})
    result = run(site, 'compat.check_stack()')
    assert result.returncode == 0
    assert 'mmdet 4.0.0 is not tested with OneFormer' in result.stderr
    assert 'pip install mmdet==3.3.0' in result.stderr
    assert 'mmengine' not in result.stderr


@pytest.mark.parametrize(
    ('packages', 'fits', 'too_new', 'limit'),
    [(ONEDL, '4.57.6', '5.0.0', '5'), (UPSTREAM, '4.51.3', '4.52.0', '4.52')],
)
def test_a_transformers_too_new_for_mmpretrain_is_refused(
    site, packages, fits, too_new, limit
):
    install(site, {**packages, 'transformers': fits})
    assert run(site, 'compat.check_stack()').returncode == 0
    shutil.rmtree(site / f'transformers-{fits}.dist-info')
    install(site, {'transformers': too_new})
    error = run(site, 'compat.check_stack()').stderr
    assert f'cannot be imported beside transformers {too_new}' in error
    assert error.endswith(f"    pip install 'transformers<{limit}'\n")


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['-m', 'doctor'], True),
        (['-m', '--help'], True),
        (['-m'], True),
        (['-m', 'train'], False),
        (['tools/train.py', 'doctor'], False),
        ([''], False),
    ],
)
def test_only_commands_about_the_installation_skip_the_checks(
    argv, expected, monkeypatch
):
    monkeypatch.setattr(sys, 'argv', argv)
    assert compat.only_reporting() is expected
