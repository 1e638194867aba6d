"""The door to OneFormer for OpenMMLab: its command, and names to import.

The code is in ``projects/oneformer/`` and ``tools/``. Importing this package
loads nothing of it: ``oneformer --help`` and a config that inherits by
:func:`config_path` start at once.
"""

import importlib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

# In a checkout and in site-packages alike.
ROOT = Path(__file__).resolve().parents[1]
# What `from oneformer import NAME` loads, and from where.
LAZY = dict(
    OneFormerInferencer='projects.oneformer.inferencer',
    SegmentationResult='projects.oneformer.results',
    Segment='projects.oneformer.results',
)

__all__ = ['config_path', *LAZY]


def config_path(name: str) -> str:
    """Return the path of a shipped config, for the ``_base_`` of another.

    Unlike the function of that name in ``projects.oneformer``, this one does
    not import the models.

    Args:
        name (str): Such as ``oneformer_swin-t_coco.py``.

    Raises:
        FileNotFoundError: If there is no such config.

    Example:
        >>> _base_ = __import__('oneformer').config_path(
        ...     'oneformer_swin-t_coco.py'
        ... )
    """
    return shipped_configs().config_path(name)


def shipped_configs() -> ModuleType:
    """Return ``projects.oneformer.shipped_configs``, loaded by itself."""
    path = ROOT / 'projects' / 'oneformer' / 'shipped_configs.py'
    module = ModuleType('shipped_configs')
    module.__file__ = str(path)
    SourceFileLoader(module.__name__, str(path)).exec_module(module)
    return module


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
