"""What a user gets: the wheel, the source archive, and their pins."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from projects.oneformer import compat, config_path, doctor
from projects.oneformer.version import __version__
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[1]
BUILD = """
from setuptools import build_meta
build_meta.build_sdist('dist')
build_meta.build_wheel('dist')
"""


@pytest.fixture(scope='module')
def dist(tmp_path_factory) -> Path:
    """The built archives, made from a copy of the sources."""
    pytest.importorskip(
        'setuptools', '70.1', reason='needs a setuptools that builds wheels'
    )
    sources = tmp_path_factory.mktemp('sources')
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, sources)
    for folder in ('configs', 'oneformer', 'projects', 'tools'):
        shutil.copytree(ROOT / folder, sources / folder)
    subprocess.run(
        [sys.executable, '-c', BUILD],
        cwd=sources,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return sources / 'dist'


@pytest.fixture(scope='module')
def wheel(dist) -> Path:
    (path,) = dist.glob('*.whl')
    return path


def source_files(folder: str) -> set[str]:
    """The Python files below ``folder`` of the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob('*.py')
    }


def test_the_wheel_is_pure_python(wheel):
    assert wheel.name == (
        f'oneformer_openmmlab-{__version__}-py3-none-any.whl'
    )


def test_the_wheel_holds_the_package_its_data_configs_and_tools(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    expected = source_files('projects/oneformer') | source_files('oneformer')
    expected |= {
        f'projects/oneformer/.mim/{name}'
        for name in source_files('configs') | source_files('tools')
    }
    expected |= {
        'projects/oneformer/.mim/model-index.yml',
        'projects/oneformer/text/vocab/LICENSE',
        'projects/oneformer/text/vocab/clip_merges.txt.gz',
    }
    assert expected <= files
    assert {name for name in files if name.endswith('.py')} <= expected


def test_the_wheel_leaves_room_for_other_projects(wheel):
    files = zipfile.ZipFile(wheel).namelist()
    assert 'projects/__init__.py' not in files
    assert {name.split('/')[0] for name in files} == {
        'oneformer',
        'projects',
        f'oneformer_openmmlab-{__version__}.dist-info',
    }


def test_the_source_archive_holds_what_the_wheel_is_built_from(dist):
    (path,) = dist.glob('*.tar.gz')
    with tarfile.open(path) as archive:
        files = {name.partition('/')[2] for name in archive.getnames()}
    expected = {'LICENSE', 'model-index.yml', 'pyproject.toml', 'setup.py'}
    for folder in ('configs', 'oneformer', 'projects', 'tools'):
        expected |= source_files(folder)
    assert expected <= files


def test_the_package_works_in_the_projects_folder_of_mmdetection(
    wheel, tmp_path
):
    zipfile.ZipFile(wheel).extractall(tmp_path / 'wheel')
    projects = tmp_path / 'mmdetection' / 'projects'
    shutil.copytree(tmp_path / 'wheel' / 'projects', projects)
    (projects / 'example_project').mkdir()
    (projects / 'example_project' / '__init__.py').touch()
    environment = dict(os.environ)
    environment.pop('PYTHONPATH', None)
    code = (
        'import projects.example_project, projects.oneformer\n'
        'from mmdet.registry import MODELS\n'
        "print(MODELS.get('OneFormer').__module__)\n"
        'print(projects.oneformer.__file__)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path / 'mmdetection',
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-2:] == [
        'projects.oneformer.models.oneformer',
        str(projects / 'oneformer' / '__init__.py'),
    ]


@pytest.mark.parametrize(
    ('tool', 'message'),
    [
        ('misc/validate_dataset.py', 'holds no annotations that are known'),
        ('dataset_converters/coco.py', 'lacks the folders'),
    ],
)
def test_the_tools_of_the_wheel_find_what_they_share(
    wheel, tmp_path, tool, message
):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (tmp_path / 'data').mkdir()
    result = subprocess.run(
        [
            sys.executable,
            tmp_path / 'projects/oneformer/.mim/tools' / tool,
            tmp_path / 'data',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert message in result.stderr


OTHER_PROJECT = """
_base_ = __import__('projects.oneformer').oneformer.config_path(
    'oneformer_swin-t_coco.py'
)
train_dataloader = dict(batch_size=4)
pack_test = dict(_base_.pack_test, meta_keys=('img_path',))
"""


def test_a_config_of_another_project_inherits_from_the_installed_package(
    wheel, tmp_path
):
    site = tmp_path / 'site-packages'
    zipfile.ZipFile(wheel).extractall(site)
    project = tmp_path / 'project' / 'configs'
    project.mkdir(parents=True)
    (project / 'mine.py').write_text(OTHER_PROJECT)
    code = (
        'from mmengine.config import Config\n'
        "config = Config.fromfile('configs/mine.py')\n"
        'import projects.oneformer\n'
        'print(projects.oneformer.__file__)\n'
        'print(config.train_dataloader.batch_size)\n'
        'print(config.model.panoptic_head.num_queries)\n'
        'print(config.pack_test.meta_keys)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=project.parent,
        env=dict(os.environ, PYTHONPATH=str(site)),
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-4:] == [
        str(site / 'projects' / 'oneformer' / '__init__.py'),
        '4',
        '150',
        "('img_path',)",
    ]


def test_a_config_that_is_not_shipped_is_named_with_similar_ones():
    with pytest.raises(FileNotFoundError, match='oneformer_swin-t_coco.py'):
        config_path('oneformer_swin_t_coco.py')


def constraints(stack: str) -> dict[str, str]:
    text = (ROOT / 'constraints' / f'{stack}.txt').read_text()
    return dict(re.findall(r'^([\w-]+)==([\w.]+)', text, flags=re.MULTILINE))


@pytest.mark.parametrize('stack', ['onedl', 'upstream'])
def test_the_commands_we_print_install_what_the_tests_run_with(stack):
    pins = constraints(stack)
    for distribution in compat.DISTRIBUTIONS:
        if distribution.stack == stack:
            assert pins[distribution.name] == distribution.tested
    commands = f'{doctor.TORCH} {doctor.OPENCV}'
    for name, version in re.findall(r'(\S+)==(\S+)', commands):
        assert pins[name] == version


def test_the_extras_admit_what_the_tests_run_with():
    requirements = re.findall(
        r"'(\w[\w-]+)~=([\d.]+)'", (ROOT / 'setup.py').read_text()
    )
    pins = constraints('onedl') | constraints('upstream')
    assert requirements
    assert {name: pins[name] for name, _ in requirements} == dict(requirements)


def test_the_wheel_brings_the_command(wheel, tmp_path):
    site = tmp_path / 'site-packages'
    zipfile.ZipFile(wheel).extractall(site)
    (entry_points,) = site.glob('*.dist-info/entry_points.txt')
    assert 'oneformer = oneformer.cli:main' in entry_points.read_text()

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, '-m', 'oneformer', *arguments],
            cwd=tmp_path,
            env=os.environ | dict(PYTHONPATH=str(site)),
            capture_output=True,
            text=True,
        )

    assert run('train', '--help').stdout.startswith('usage: oneformer train')
    listed = run('configs', '--json').stdout
    assert str(site / 'projects/oneformer/.mim/configs') in listed


def test_the_command_of_the_wheel_writes_a_config_for_data(wheel, tmp_path):
    site = tmp_path / 'site-packages'
    zipfile.ZipFile(wheel).extractall(site)
    make_demo_data(tmp_path / 'shapes', num_train=2, num_val=1, size=64)
    code = (
        'import sys; from oneformer.cli import main\n'
        "main(['init', 'shapes', '--device', 'cpu'])\n"
        'from mmengine.config import Config\n'
        "config = Config.fromfile('oneformer_shapes.py')\n"
        'print(config.filename, config.model.metainfo.thing_classes)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env=os.environ | dict(PYTHONPATH=str(site)),
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1] == (
        "oneformer_shapes.py ('disc', 'square', 'triangle', 'star')"
    )
