"""The command `oneformer` from a checkout; test_packaging.py has the wheel."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import oneformer
from oneformer import cli, completion
from projects.oneformer import doctor
from projects.oneformer.compat import Problem

ROOT = Path(__file__).parents[1]
HEAVY = {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'argparse'}


def run(*arguments, folder: Path = ROOT, **variables):
    """Run the command; return the finished process."""
    return subprocess.run(
        [sys.executable, '-m', 'oneformer', *map(str, arguments)],
        cwd=folder,
        env=os.environ | dict(PYTHONPATH=str(ROOT)) | variables,
        capture_output=True,
        text=True,
    )


def test_help_names_every_command_and_loads_the_standard_library_alone():
    process = subprocess.run(
        [sys.executable, '-X', 'importtime', '-m', 'oneformer', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in (*cli.COMMANDS, 'doctor', 'completion'):
        assert re.search(rf'^  {name} ', process.stdout, re.MULTILINE)
    loaded = set(re.findall(r'\| +([\w.]+)$', process.stderr, re.MULTILINE))
    assert 'oneformer' in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize('arguments', [(), ('-h',), ('--help',)])
def test_without_a_command_the_help_is_shown(arguments, capsys):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith('usage: oneformer COMMAND')


def test_a_misspelt_command_is_reported_with_the_one_that_was_meant(capsys):
    assert cli.main(['trian']) == 2
    assert "no command 'trian': did you mean 'train'?" in (
        capsys.readouterr().err
    )


def test_the_version_is_that_of_the_package(capsys):
    from projects.oneformer.version import __version__

    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == f'oneformer {__version__}\n'


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_has_a_help_under_its_own_name(name, tmp_path):
    process = run(name, '--help', folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f'usage: oneformer {name} ')


def test_errors_name_the_command_and_keep_its_exit_code(tmp_path):
    process = run('test', folder=tmp_path)
    assert process.returncode == 2
    assert 'oneformer test: error: the following argum' in process.stderr
    process = run('check', 'nowhere', folder=tmp_path)
    assert process.returncode == 1
    assert process.stderr.endswith('name a config or a folder of data.\n')


def test_the_reader_of_a_long_list_may_stop_early():
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [sys.executable, '-m', 'oneformer', 'configs'],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert process.communicate()[1] == ''


def test_the_doctor_reports_as_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', sys.argv)  # put back in the end
    problem = Problem('scipy is missing', 'pip install scipy')
    monkeypatch.setattr(
        doctor, 'diagnose', lambda: iter(['  numpy  2.0', problem])
    )
    assert cli.main(['doctor', '--json']) == 1
    report = json.loads(capsys.readouterr().out)
    assert report['can_run'] is False
    assert report['report'] == ['numpy  2.0']
    assert report['problems'] == [
        dict(what='scipy is missing', command='pip install scipy')
    ]


def test_the_help_of_the_doctor_names_the_command():
    process = run('doctor', '--help')
    assert process.stdout.startswith('usage: oneformer doctor')


# -------------------------------------------------------------- completion


@pytest.fixture
def few_options(monkeypatch):
    """Options of the commands, without asking each for its help."""
    monkeypatch.setattr(
        completion, 'options_of', lambda name: ['--out', f'--{name}-only']
    )


def complete(script: str, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    line = (
        f'COMP_WORDS=({" ".join(map(repr, words))}); COMP_CWORD='
        f'{len(words) - 1}; _oneformer; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ['bash', '-c', f'{script}\n{line}'],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


def test_bash_completes_commands_and_their_options(few_options):
    script = completion.script('bash')
    assert complete(script, 'oneformer', 'tr') == ['train']
    assert complete(script, 'oneformer', 'train', '--t') == ['--train-only']
    assert complete(script, 'oneformer', 'completion', 'z') == []
    # Files are left to the shell.
    assert complete(script, 'oneformer', 'train', 'da') == []


@pytest.mark.parametrize('shell', completion.SHELLS)
def test_completion_scripts_are_whole(few_options, shell):
    script = completion.script(shell)
    for name in cli.COMMANDS:
        assert f'{name}-only' in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f'needs {shell} to read the script')
    subprocess.run([program, '-n'], input=script, check=True, text=True)


def test_the_options_of_a_command_are_those_of_its_help():
    found = completion.options_of('configs')
    assert sorted(found) == ['--copy', '--help', '--json']


def test_an_option_with_a_number_is_offered_whole(monkeypatch):
    monkeypatch.setattr(
        subprocess,
        'run',
        lambda *_, **__: subprocess.CompletedProcess([], 0, 'or --float16.'),
    )
    assert completion.options_of('save') == ['--float16']


def test_an_unknown_shell_is_refused(capsys):
    assert completion.main(['csh']) == 2
    assert 'expected one of bash, zsh, fish, got csh' in (
        capsys.readouterr().err
    )


# ----------------------------------------------------------------- configs


def test_shipped_configs_are_listed_with_a_line_each():
    rows = json.loads(run('configs', '--json').stdout)
    names = {path.name for path in (ROOT / 'configs').glob('*.py')}
    assert {row['name'] for row in rows} == names
    assert all(row['description'] for row in rows)
    listed = run('configs').stdout.splitlines()
    assert len(listed) == len(names)


def test_a_shipped_config_is_shown():
    shown = run('configs', 'oneformer_r18_demo').stdout
    assert shown == (ROOT / 'configs/oneformer_r18_demo.py').read_text()


@pytest.mark.parametrize(
    'name', ['oneformer_r18_demo', 'oneformer_swin-t_own-mixed']
)
def test_a_copied_config_is_the_same_from_anywhere(name, tmp_path):
    run('configs', name, '--copy', 'mine.py', folder=tmp_path)
    copied = Config.fromfile(tmp_path / 'mine.py')
    assert copied.to_dict() == (
        Config.fromfile(ROOT / f'configs/{name}.py').to_dict()
    )
    again = run('configs', name, '--copy', 'mine.py', folder=tmp_path)
    assert again.returncode == 1
    assert 'mine.py exists' in again.stderr


def test_an_unknown_config_is_reported_with_similar_ones():
    process = run('configs', 'oneformer_r18_dmo')
    assert process.returncode == 1
    assert 'similar are oneformer_r18_demo.py' in process.stderr


# ------------------------------------------------------------------ import


def test_importing_the_door_loads_no_model():
    code = (
        'import sys, oneformer; oneformer.config_path("oneformer_r50_coco.py")'
        '; print(sorted({"torch", "projects"} & set(sys.modules)))'
    )
    process = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert process.stdout == '[]\n'


def test_the_inferencer_is_loaded_when_it_is_asked_for():
    module = importlib.import_module('projects.oneformer.inferencer')
    assert oneformer.OneFormerInferencer is module.OneFormerInferencer
    with pytest.raises(AttributeError, match='no attribute .Inferencer'):
        oneformer.Inferencer  # noqa: B018
