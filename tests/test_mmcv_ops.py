"""Missing operators of mmcv are replaced, on small made-up packages."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from projects.oneformer import compat, mmcv_ops

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
    """An empty folder of packages, with nothing but ours in it."""
    package = tmp_path / 'oneformer'
    package.mkdir()
    (package / '__init__.py').touch()
    for module in (compat, mmcv_ops):
        shutil.copy(module.__file__, package)
    return tmp_path


def run(site: Path, code: str) -> subprocess.CompletedProcess:
    """Run ``code`` where no packages are installed but those of ``site``."""
    return subprocess.run(
        [
            sys.executable,
            '-S',
            '-c',
            f'from oneformer import mmcv_ops\n{code}',
        ],
        cwd=site,  # not the checkout, which has a package oneformer, too
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )


def install(site: Path, name: str, version: str) -> None:
    """Leave the trace of an installation: name and version, no code."""
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


def test_missing_operators_can_be_imported_but_not_called(site):
    install(site, 'onedl-mmcv', '2.3.6')
    write_mmcv(site)
    error = run(
        site,
        'mmcv_ops.ensure_mmcv_ops(); import mmcv.ops; mmcv.ops.nms(1, k=2)',
    ).stderr
    assert "RuntimeError: The operator 'nms' is not available" in error
    assert '--no-build-isolation onedl-mmcv==2.3.6' in error


def test_the_placeholder_looks_like_a_module_to_tools(site):
    write_mmcv(site)
    result = run(
        site,
        """
import importlib.util, inspect, pickle, sys
mmcv_ops.ensure_mmcv_ops()
mmcv_ops.ensure_mmcv_ops()
import mmcv._ext as ext
assert importlib.util.find_spec('mmcv._ext') is ext.__spec__
assert not hasattr(ext, '__file__') and not hasattr(ext, '_private')
assert ext.nms is ext.nms and ext.nms.__name__ == 'nms'
assert pickle.loads(pickle.dumps(ext.nms)) is ext.nms
assert inspect.getmodule(ext.nms) is ext
assert ext.get_compiler_version() == ext.get_compiling_cuda_version() == 'n/a'
assert not mmcv_ops.has_compiled_ops()
""",
    )
    assert result.stderr == ''


def test_compiled_operators_are_never_shadowed(site):
    write_mmcv(site)
    write(site, {'mmcv/_ext.py': 'nms = "compiled"', 'torch.py': ''})
    result = run(
        site,
        """
assert mmcv_ops.has_compiled_ops()
mmcv_ops.ensure_mmcv_ops()
import mmcv.ops
assert mmcv.ops.nms == 'compiled'
""",
    )
    assert result.stderr == ''


def test_operators_that_do_not_load_are_reported_with_the_repair(site):
    install(site, 'mmcv', '2.1.0')
    write_mmcv(site)
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    write(site, {f'mmcv/_ext{suffix}': 'not a library', 'torch.py': ''})
    error = run(site, 'mmcv_ops.ensure_mmcv_ops()').stderr
    assert "StackError: mmcv's compiled operators do not load" in error
    assert '--no-cache-dir --no-build-isolation mmcv==2.1.0' in error
    assert 'pip uninstall -y mmcv && pip install mmcv-lite==2.1.0' in error


def test_an_mmcv_that_fails_for_another_reason_shows_its_own_error(site):
    write_mmcv(site)
    write(
        site,
        {'mmcv/__init__.py': 'raise ImportError("libGL")', 'mmcv/_ext.py': ''},
    )
    error = run(site, 'mmcv_ops.ensure_mmcv_ops()').stderr
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
mmcv_ops.ensure_mmcv_ops()
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


def test_the_file_runs_by_its_path_before_the_package_is_imported(site):
    write_mmcv(site)
    result = run(
        site,
        """
import runpy, sys
sys.modules.pop('mmcv._ext', None)
runpy.run_path(mmcv_ops.__file__)['ensure_mmcv_ops']()
import mmcv.ops
assert mmcv.ops.nms.__name__ == 'nms'
""",
    )
    assert result.stderr == ''
