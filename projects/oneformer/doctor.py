"""Reports what is installed, what will run, and what to do about the rest."""

import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import chain
from types import ModuleType

from . import compat
from .compat import Problem, StackError, installed_version
from .mmcv_ops import has_compiled_ops
from .version import __version__

# Each torchvision fits one torch.
TORCH = 'pip install torch==2.11.0 torchvision==0.26.0'
# Both own the folder cv2; only this one does without the graphics libraries
# of a desktop.
OPENCV = (
    'pip uninstall -y opencv-python opencv-python-headless && '
    'pip install opencv-python-headless==4.12.0.88'
)
# What setup.py and the OpenMMLab packages require, by the name of the import;
# what it is for; and the command that brings it.
REQUIRED = (
    ('torch', 'the model', TORCH),
    ('torchvision', 'mmcv and mmdet', TORCH),
    ('numpy', 'the data', 'pip install numpy'),
    ('scipy', 'matching queries with masks', 'pip install scipy'),
    ('cv2', 'images', OPENCV),
    ('pycocotools', 'masks and COCO files', 'pip install pycocotools'),
    ('hotcoco', 'the evaluation', 'pip install hotcoco'),
    ('ftfy', 'the tokenizer', 'pip install ftfy'),
    ('regex', 'the tokenizer', 'pip install regex'),
)
# Which only the tests use.
OPTIONAL = ('timm', 'transformers', 'open-clip-torch')


def report() -> int:
    """Print the report.

    Returns:
        int: 0 if OneFormer can run, 1 if not.
    """
    problems = []
    for finding in diagnose():
        if isinstance(finding, Problem):
            problems.append(finding)
        else:
            print(finding)
    for number, problem in enumerate(problems, 1):
        print(f'\nProblem {number}: {problem}')
    print('\nOneFormer cannot run.' if problems else '\nOneFormer can run.')
    return int(bool(problems))


def report_json() -> int:
    """Print the report for a program: lines, problems, and the verdict.

    Returns:
        int: 0 if OneFormer can run, 1 if not.
    """
    findings = list(diagnose())
    problems = [f for f in findings if isinstance(f, Problem)]
    content = dict(
        version=__version__,
        can_run=not problems,
        report=[f.strip() for f in findings if isinstance(f, str)],
        problems=[p._asdict() for p in problems],
    )
    print(json.dumps(content, indent=1))
    return int(bool(problems))


def diagnose() -> Iterator[str | Problem]:
    """Yield the lines of the report, and the problems as they are found."""
    yield f'OneFormer for OpenMMLab {__version__}'
    yield f'Python {platform.python_version()} on {platform.platform()}'
    sound = True
    for finding in chain(_packages(), _stack()):
        sound = sound and not isinstance(finding, Problem)
        yield finding
    # Otherwise its errors are those of above, in other words.
    if sound:
        yield from _project()


def _packages() -> Iterator[str | Problem]:
    yield '\nPackages'
    for name, purpose, command in REQUIRED:
        try:
            package = importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything
            yield _row(name, 'fails')
            yield Problem(
                f'{name}, needed for {purpose}, cannot be imported: '
                f'{_summary(error)}',
                command,
            )
        else:
            version = installed_version(name)
            yield _row(name, version or package.__version__)
    for name in OPTIONAL:
        version = installed_version(name)
        yield _row(name, version or 'not installed; only the tests use it')


def _stack() -> Iterator[str | Problem]:
    yield '\nOpenMMLab'
    installed = compat.installed_distributions()
    for distribution, version in installed.items():
        yield _row(distribution.name, version)
    yield from compat.stack_problems(installed)
    for warning in compat.version_problems(installed):
        yield f'  Note: {warning}'


def _project() -> Iterator[str | Problem]:
    """Import the project as a config does, and report its backends."""
    try:
        # Some OpenMMLab packages print while they are imported.
        with redirect_stdout(StringIO()):
            # Its parts were not imported when Python started this command.
            importlib.reload(sys.modules[__package__])
            attention = importlib.import_module(
                f'{__package__}.models.layers.deformable_backends'
            )
    except StackError as error:
        yield from error.problems
        return
    except Exception as error:  # a broken package may raise anything
        yield Problem(
            f'import {__package__} fails: {_summary(error)}\nSee where, with:',
            f'{sys.executable} -c "import {__package__}"',
        )
        return
    ops = 'compiled' if has_compiled_ops() else 'not compiled'
    yield _row('mmcv operators', f'{ops}, OneFormer needs none')
    yield '\nDevices, and how they compute deformable attention'
    yield from _devices(importlib.import_module('torch'), attention)


def _devices(torch: ModuleType, attention: ModuleType) -> Iterator[str]:
    devices = [('cpu', f'{os.cpu_count()} cores')]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        devices.append(('cuda', f'{gpu.name}, {gpu.total_memory >> 30} GiB'))
    if torch.backends.mps.is_available():
        devices.append(('mps', platform.processor()))
    for device, description in devices:
        yield _row(device, description)
        for dtype in (torch.float32, torch.bfloat16):
            backend, reason = attention.select_backend(device, dtype)
            yield f'    {str(dtype):<15} {backend}: {reason}'


def _row(name: str, value: str) -> str:
    return f'  {name:<21} {value}'


def _summary(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
