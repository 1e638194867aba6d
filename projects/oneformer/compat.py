"""The OpenMMLab stack below OneFormer: is it there, whole, and usable?

Two lines of packages share the import names ``mmengine``, ``mmcv``,
``mmdet``, ``mmseg`` and ``mmpretrain``: the maintained OneDL one and the
original one. :func:`check_stack` says in plain words what is wrong with the
installed packages; :func:`ensure_mmcv_ops` lets OneFormer, which needs no
compiled operator, run on an mmcv without any. Neither imports torch or an
OpenMMLab package unless it has to load mmcv's compiled operators.
"""

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import shlex
import sys
import warnings
from types import FunctionType, ModuleType
from typing import NamedTuple

OPS_MODULE = 'mmcv._ext'


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


def ensure_mmcv_ops() -> None:
    """Make ``mmcv.ops`` importable, with or without compiled operators.

    mmdet and mmseg import ``mmcv.ops`` throughout, which fails on an mmcv
    that was installed without its compiled part ``mmcv._ext``. Where that
    part is absent, a placeholder takes its place: each operator exists, and
    says when it is called that it was not compiled. Where it is present it
    is loaded, never shadowed.

    Some modules catch the failed import and define stand-ins instead, also
    of the parts of ``mmcv.ops`` that are plain PyTorch and that Mask2Former
    needs. Those that are loaded by then are repaired rather than refused:
    mmdet's own tools import ``mmdet.utils`` before they read the config that
    imports OneFormer, and a stand-in left in ``mmcv.cnn`` would leave the
    pixel decoder's attention without its initial values, silently.

    Raises:
        StackError: If the compiled operators are there but do not load, as
            when mmcv was compiled for another torch.
    """
    if OPS_MODULE in sys.modules:
        return
    if has_compiled_ops():
        _load_compiled_ops()
        return
    _PlaceholderLoader.register()
    _repeat_failed_imports()


def trust_mmengine_checkpoints() -> None:
    """Let PyTorch load what mmengine writes into its checkpoints.

    Beside weights these hold the history of the log, which PyTorch 2.6 and
    later refuse to load unless its types are declared safe. OneDL's mmengine
    declares them, the original one does not.
    """
    checkpoint = importlib.import_module('mmengine.runner.checkpoint')
    if not hasattr(checkpoint, '_safe_torch_load'):
        torch = importlib.import_module('torch')
        torch.serialization.add_safe_globals(mmengine_checkpoint_types())


def mmengine_checkpoint_types() -> list:
    """Return what a checkpoint of mmengine holds beside weights."""
    numpy = importlib.import_module('numpy')
    logging = importlib.import_module('mmengine.logging')
    # What rebuilds arrays and numbers; NumPy 2 moved them.
    array = numpy.zeros(())
    reconstruct, scalar = array.__reduce__()[0], array[()].__reduce__()[0]
    return [
        logging.HistoryBuffer,
        getattr,  # its statistics, which are stored as methods
        slice,
        numpy.ndarray,
        numpy.dtype,
        reconstruct,
        scalar,
        *(type(numpy.dtype(code)) for code in numpy.typecodes['All']),
    ]


def has_compiled_ops() -> bool:
    """Whether mmcv was installed with compiled operators (not loaded)."""
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None:
        return False
    # Not importlib.util.find_spec('mmcv._ext'), which would import mmcv.
    found = importlib.machinery.PathFinder.find_spec(
        OPS_MODULE, mmcv.submodule_search_locations
    )
    return found is not None


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


def _load_compiled_ops() -> None:
    # mmcv first, for its own errors to show as they are; torch, because the
    # operators link against its libraries.
    importlib.import_module('mmcv')
    importlib.import_module('torch')
    try:
        importlib.import_module(OPS_MODULE)
    except ImportError as error:
        raise StackError(
            Problem(
                "mmcv's compiled operators do not load, as when they were "
                f'compiled for another torch or Python: {error}\n'
                'Compile them for this torch, which takes a while, with:\n'
                f'    {compile_command()}\n'
                'Or do without, as OneFormer can:',
                uncompiled_command(),
            )
        ) from error


class _Placeholder(ModuleType):
    """Stands for ``mmcv._ext``: has every operator, and none that runs."""

    def __getattr__(self, name: str) -> FunctionType:
        # No operator starts with an underscore, but what Python and its
        # tools look for in a module does.
        if name.startswith('_'):
            raise AttributeError(f'{self.__name__} has no attribute {name!r}')

        def operator(*args, **kwargs):
            raise RuntimeError(
                f'The operator {name!r} is not available: mmcv was installed '
                'without compiled operators. OneFormer needs none of them; '
                'a component that does needs mmcv compiled:\n'
                f'    {compile_command()}'
            )

        operator.__name__ = operator.__qualname__ = name
        operator.__module__ = self.__name__
        setattr(self, name, operator)
        return operator


class _PlaceholderLoader(importlib.abc.Loader):
    """Makes the placeholder a module like others, with a spec and loader."""

    @classmethod
    def register(cls) -> None:
        spec = importlib.machinery.ModuleSpec(
            OPS_MODULE, cls(), origin='placeholder of projects.oneformer'
        )
        sys.modules[OPS_MODULE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[OPS_MODULE])

    def create_module(self, spec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        # What mmcv reports of itself where nothing was compiled.
        for name in ('get_compiler_version', 'get_compiling_cuda_version'):
            setattr(module, name, lambda: 'n/a')

    def get_source(self, fullname: str) -> None:
        return None  # as for compiled modules


def _repeat_failed_imports() -> None:
    """Replace the stand-ins for ``mmcv.ops`` in modules loaded before."""
    # Sorted, so that mmcv's own modules come before those that use them.
    for name in sorted(sys.modules):
        if name.partition('.')[0] not in ('mmcv', 'mmdet', 'mmseg'):
            continue
        module = sys.modules[name]
        for statement in _guarded_mmcv_imports(module):
            source = importlib.import_module(statement.module)
            for alias in statement.names:
                target = alias.asname or alias.name
                setattr(module, target, getattr(source, alias.name))


def _guarded_mmcv_imports(module: ModuleType) -> list[ast.ImportFrom]:
    """The imports from mmcv that ``module`` is prepared to see fail."""
    source = module.__spec__.loader.get_source(module.__name__) or ''
    if 'from mmcv.' not in source:
        return []
    return [
        statement
        for block in ast.parse(source).body
        if isinstance(block, ast.Try)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        and (statement.module or '').startswith('mmcv.')
    ]
