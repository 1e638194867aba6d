"""What the tests of the dataset converters share."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.registry import init_default_scope

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
# The converters are scripts, which find each other beside them.
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    error: str


@pytest.fixture
def convert(monkeypatch, capsys) -> Callable[..., Result]:
    """A function that runs a converter in this process."""
    common = importlib.import_module('_common')

    def call(name: str, *arguments: object) -> Result:
        words = [name, *map(str, arguments)]
        if '--workers' not in words:
            words += ['--workers', '1']
        monkeypatch.setattr(sys, 'argv', words)
        capsys.readouterr()
        code, error = 0, ''
        try:
            common.run_command(importlib.import_module(name).main)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            error = end.code if isinstance(end.code, str) else ''
        streams = capsys.readouterr()
        return Result(code, streams.out, error + streams.err)

    return call


@pytest.fixture
def mmdet_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture
def run_script() -> Callable[..., subprocess.CompletedProcess]:
    """A function that runs a converter as a user does."""

    def call(name: str, *arguments: object, options: list[str] = ()):
        return subprocess.run(
            [sys.executable, *options, TOOLS / name, *map(str, arguments)],
            capture_output=True,
            text=True,
        )

    return call
