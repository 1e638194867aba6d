"""mmcv's compiled operators: loaded where they are, replaced where not.

mmdet and mmseg import ``mmcv.ops`` throughout, which fails on an mmcv that
was was installed without its compiled part. OneFormer needs none of these
operators; :func:`ensure_mmcv_ops` lets it run without.

What only messages need is imported where they are made, so that this file
can also be run by its path, where the package is not to be imported yet.
"""

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

OPS_MODULE = 'mmcv._ext'


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


def _load_compiled_ops() -> None:
    # mmcv first, for its own errors to show as they are; torch, because the
    # operators link against its libraries.
    importlib.import_module('mmcv')
    importlib.import_module('torch')
    try:
        importlib.import_module(OPS_MODULE)
    except ImportError as error:
        from . import compat

        raise compat.StackError(
            compat.Problem(
                "mmcv's compiled operators do not load, as when they were "
                f'compiled for another torch or Python: {error}\n'
                'Compile them for this torch, which takes a while, with:\n'
                f'    {compat.compile_command()}\n'
                'Or do without, as OneFormer can:',
                compat.uncompiled_command(),
            )
        ) from error


class _Placeholder(ModuleType):
    """Stands for ``mmcv._ext``: has every operator, and none that runs."""

    def __getattr__(self, name: str) -> Callable:
        # No operator starts with an underscore, but what Python and its
        # tools look for in a module does.
        if name.startswith('_'):
            raise AttributeError(f'{self.__name__} has no attribute {name!r}')

        def operator(*args, **kwargs):
            from .compat import compile_command

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
        loader = cls()
        spec = importlib.machinery.ModuleSpec(
            OPS_MODULE, loader, origin='placeholder of projects.oneformer'
        )
        sys.modules[OPS_MODULE] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[OPS_MODULE])

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
            assert statement.module is not None, 'begins with mmcv'
            source = importlib.import_module(statement.module)
            for alias in statement.names:
                target = alias.asname or alias.name
                setattr(module, target, getattr(source, alias.name))


def _guarded_mmcv_imports(module: ModuleType) -> list[ast.ImportFrom]:
    """The imports from mmcv that ``module`` is prepared to see fail."""
    spec: Any = module.__spec__
    source = spec.loader.get_source(module.__name__) or ''
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
