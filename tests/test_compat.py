"""The checks run in processes of their own, on small made-up packages."""

import os
import shutil
import subprocess
import sys
import sysconfig
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
# As mmcv's own: without the compiled operators it cannot be imported.
MMCV_OPS = """
import importlib
ext = importlib.import_module('mmcv._ext')
assert hasattr(ext, 'nms')
nms = ext.nms
def point_sample():
    return 'plain PyTorch'
"""


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


def write(site: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)


def write_mmcv(site: Path) -> None:
    write(site, {'mmcv/__init__.py': '', 'mmcv/ops.py': MMCV_OPS})


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
    write(site, {'mmdet/__init__.py': 'raise RuntimeError("imported")'})
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


def test_missing_operators_can_be_imported_but_not_called(site):
    install(site, {'onedl-mmcv': '2.3.6'})
    write_mmcv(site)
    error = run(
        site, 'compat.ensure_mmcv_ops(); import mmcv.ops; mmcv.ops.nms(1, k=2)'
    ).stderr
    assert "RuntimeError: The operator 'nms' is not available" in error
    assert '--no-build-isolation onedl-mmcv==2.3.6' in error


def test_the_placeholder_looks_like_a_module_to_tools(site):
    write_mmcv(site)
    result = run(
        site,
        """
import importlib.util, inspect, pickle, sys
compat.ensure_mmcv_ops()
compat.ensure_mmcv_ops()
import mmcv._ext as ext
assert importlib.util.find_spec('mmcv._ext') is ext.__spec__
assert not hasattr(ext, '__file__') and not hasattr(ext, '_private')
assert ext.nms is ext.nms and ext.nms.__name__ == 'nms'
assert pickle.loads(pickle.dumps(ext.nms)) is ext.nms
assert inspect.getmodule(ext.nms) is ext
assert ext.get_compiler_version() == ext.get_compiling_cuda_version() == 'n/a'
assert not compat.has_compiled_ops()
""",
    )
    assert result.stderr == ''


def test_compiled_operators_are_never_shadowed(site):
    write_mmcv(site)
    write(site, {'mmcv/_ext.py': 'nms = "compiled"', 'torch.py': ''})
    result = run(
        site,
        """
assert compat.has_compiled_ops()
compat.ensure_mmcv_ops()
import mmcv.ops
assert mmcv.ops.nms == 'compiled'
""",
    )
    assert result.stderr == ''


def test_operators_that_do_not_load_are_reported_with_the_repair(site):
    install(site, {'mmcv': '2.1.0'})
    write_mmcv(site)
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    write(site, {f'mmcv/_ext{suffix}': 'not a library', 'torch.py': ''})
    error = run(site, 'compat.ensure_mmcv_ops()').stderr
    assert "StackError: mmcv's compiled operators do not load" in error
    assert '--no-cache-dir --no-build-isolation mmcv==2.1.0' in error
    assert 'pip uninstall -y mmcv && pip install mmcv-lite==2.1.0' in error


def test_an_mmcv_that_fails_for_another_reason_shows_its_own_error(site):
    write_mmcv(site)
    write(
        site,
        {'mmcv/__init__.py': 'raise ImportError("libGL")', 'mmcv/_ext.py': ''},
    )
    error = run(site, 'compat.ensure_mmcv_ops()').stderr
    assert error.endswith('ImportError: libGL\n')
    assert 'StackError' not in error


def test_stand_ins_of_modules_imported_before_are_replaced(site):
    write_mmcv(site)
    write(
        site,
        {
            'mmcv/transformer.py': 'try:\n'
            '    from mmcv.ops import point_sample as sample\n'
            'except ImportError:\n'
            '    pass\n',
            'mmdet/models.py': 'try:\n'
            '    from mmcv.ops import nms\n'
            '    from mmcv.transformer import sample\n'
            'except ImportError:\n'
            '    nms = sample = None\n'
            'def own(): pass\n',
        },
    )
    result = run(
        site,
        """
import mmdet.models
assert mmdet.models.nms is mmdet.models.sample is None
compat.ensure_mmcv_ops()
assert mmdet.models.sample() == 'plain PyTorch'
assert mmdet.models.nms.__name__ == 'nms'
assert mmdet.models.own.__module__ == 'mmdet.models'
""",
    )
    assert result.stderr == ''


@pytest.mark.slow
def test_attention_keeps_its_initial_values_if_mmdet_is_imported_first():
    code = """
import mmcv.cnn, mmdet.utils
import projects.oneformer
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers import msdeformattn_pixel_decoder as decoder
assert decoder.MultiScaleDeformableAttention is MultiScaleDeformableAttention
"""
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, '-c', code], cwd=root, check=True)


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
