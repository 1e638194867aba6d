"""The OpenMMLab stack below OneFormer: is it installed and complete?

Two lines of packages share the import names ``mmengine``, ``mmcv``,
``mmdet``, ``mmseg`` and ``mmpretrain``: the maintained OneDL one and the
original one. :func:`check_stack` reports what is wrong with the installed
packages, and the command that repairs it. It imports neither torch nor an
OpenMMLab package.
"""

import importlib.metadata
import importlib.util
import re
import shlex
import sys
import warnings
from typing import NamedTuple


class Distribution(NamedTuple):
    """A package of one of the two stacks, by its name on PyPI."""

    name: str
    module: str
    stack: str
    tested: str  # the version that the tests run with
    default: bool = True  # whether the stack is installed with it


DISTRIBUTIONS = (
    Distribution('onedl-mmengine', 'mmengine', 'onedl', '0.10.12'),
    Distribution('onedl-mmcv', 'mmcv', 'onedl', '2.3.6'),
    Distribution('onedl-mmdetection', 'mmdet', 'onedl', '3.5.1'),
    Distribution('onedl-mmsegmentation', 'mmseg', 'onedl', '1.4.2'),
    Distribution('onedl-mmpretrain', 'mmpretrain', 'onedl', '1.3.6'),
    Distribution('mmengine', 'mmengine', 'upstream', '0.10.7'),
    Distribution('mmengine-lite', 'mmengine', 'upstream', '0.10.7', False),
    # The lite one has no compiled operators, and so installs anywhere.
    Distribution('mmcv', 'mmcv', 'upstream', '2.1.0', False),
    Distribution('mmcv-lite', 'mmcv', 'upstream', '2.1.0'),
    Distribution('mmdet', 'mmdet', 'upstream', '3.3.0'),
    Distribution('mmsegmentation', 'mmseg', 'upstream', '1.2.2'),
    Distribution('mmpretrain', 'mmpretrain', 'upstream', '1.2.0'),
)
# Without these nothing works; the others bring backbones and metrics.
REQUIRED_MODULES = ('mmengine', 'mmcv', 'mmdet')
# The first transformers beside which mmpretrain cannot be imported, and with
# it mmdet.models, which looks for mmpretrain.
TRANSFORMERS_LIMITS = {'onedl-mmpretrain': '5', 'mmpretrain': '4.52'}


class Problem(NamedTuple):
    """Something wrong with the installation, and the command against it."""

    what: str
    command: str

    def __str__(self) -> str:
        return f'{self.what}\n    {self.command}'


class StackError(ImportError):
    """The installed packages cannot run OneFormer; the message says why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__('\n'.join(map(str, problems)))
        self.problems = problems


def check_stack() -> None:
    """Check that exactly one OpenMMLab stack is installed, and whole.

    Reads the metadata of the installed packages and imports none of them.
    Versions that no test has run with only cause a warning.

    Raises:
        StackError: If packages are missing, or taken from both stacks.
    """
    installed = installed_distributions()
    if problems := stack_problems(installed):
        raise StackError(*problems)
    for problem in version_problems(installed):
        warnings.warn(str(problem), stacklevel=2)


def only_reporting() -> bool:
    """Whether this process is about to run ``python -m projects.oneformer``.

    Its commands report on the installation, so they have to start on a
    broken one, although Python imports the package before they run. While
    ``-m`` looks for its module, ``sys.argv[0]`` is ``'-m'``.
    """
    return sys.argv[:1] == ['-m'] and sys.argv[1:2] in (
        [],
        ['doctor'],
        ['-h'],
        ['--help'],
    )


def installed_version(name: str) -> str | None:
    """The version of the package that PyPI calls ``name``, if installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_distributions() -> dict[Distribution, str]:
    """The installed packages of both stacks, and their versions."""
    return {
        distribution: version
        for distribution in DISTRIBUTIONS
        if (version := installed_version(distribution.name))
    }


def stack_problems(installed: dict[Distribution, str]) -> list[Problem]:
    """What keeps OneFormer from running with the ``installed`` packages."""
    names = [distribution.name for distribution in installed]
    modules = [distribution.module for distribution in installed]
    stacks = {distribution.stack for distribution in installed}
    stack = 'upstream' if stacks == {'upstream'} else 'onedl'
    if len(stacks) > 1 or len(set(modules)) < len(modules):
        return [
            Problem(
                'These packages are of different stacks, or overwrite the '
                f'files of one another: {", ".join(names)}. Remove them all '
                'and install one stack:',
                f'pip uninstall -y {" ".join(names)} && '
                f'{install_command(stack)}',
            )
        ]
    problems = []
    missing = [
        module
        for module in REQUIRED_MODULES
        # A source tree on the path has no metadata, but can be imported.
        if module not in modules and importlib.util.find_spec(module) is None
    ]
    if missing:
        problems.append(
            Problem(
                f'Not installed: {", ".join(missing)}. Install with:',
                install_command(stack, missing if installed else None),
            )
        )
    transformers = installed_version('transformers')
    for name, limit in TRANSFORMERS_LIMITS.items():
        if (
            transformers is not None
            and name in names
            and _release(transformers) >= _release(limit)
        ):
            problems.append(
                Problem(
                    f'{name} cannot be imported beside transformers '
                    f'{transformers}. Install an older one:',
                    f"pip install 'transformers<{limit}'",
                )
            )
    return problems


def version_problems(installed: dict[Distribution, str]) -> list[Problem]:
    """Versions that no test has run with, which may work or not."""
    return [
        Problem(
            f'{distribution.name} {version} is not tested with OneFormer. '
            'If it fails, install the tested version:',
            f'pip install {_pinned(distribution.name)}',
        )
        for distribution, version in installed.items()
        if _release(version) != _release(distribution.tested)
    ]


def _release(version: str) -> tuple[int, ...]:
    """``'4.57.6'`` -> ``(4, 57)``, to compare by."""
    return tuple(int(part) for part in re.findall(r'\d+', version)[:2])


def install_command(stack: str, modules: list[str] | None = None) -> str:
    """The command that installs ``stack``, or its part for ``modules``."""
    requirements = [
        f'{distribution.name}=={distribution.tested}'
        for distribution in DISTRIBUTIONS
        if distribution.stack == stack
        and distribution.default
        and (modules is None or distribution.module in modules)
    ]
    if stack == 'upstream' and modules is None:
        # Newer ones lack pkg_resources, which this stack still imports.
        requirements.append('setuptools<81')
    return f'pip install {shlex.join(requirements)}'


def compile_command() -> str:
    """The command that compiles mmcv's operators for the installed torch."""
    # A cached wheel may come from another torch: its name does not tell.
    install = (
        'pip install --force-reinstall --no-deps --no-cache-dir '
        '--no-build-isolation'
    )
    installed = _installed_names()
    if 'onedl-mmcv' in installed:
        return f'{install} {_pinned("onedl-mmcv")}'
    command = (
        f"pip install 'setuptools<81' wheel && {install} {_pinned('mmcv')}"
    )
    if 'mmcv-lite' in installed:
        return f'pip uninstall -y mmcv-lite && {command}'
    return command


def uncompiled_command() -> str:
    """The command that installs mmcv without compiled operators."""
    if 'onedl-mmcv' in _installed_names():
        # Built in isolation, so without the torch to compile against.
        return (
            'pip install --force-reinstall --no-deps --no-cache-dir '
            f'{_pinned("onedl-mmcv")}'
        )
    return f'pip uninstall -y mmcv && pip install {_pinned("mmcv-lite")}'


def _installed_names() -> set[str]:
    return {distribution.name for distribution in installed_distributions()}


def _pinned(name: str) -> str:
    tested = {dist.name: dist.tested for dist in DISTRIBUTIONS}
    return f'{name}=={tested[name]}'
