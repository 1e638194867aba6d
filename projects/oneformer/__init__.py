"""OneFormer for OpenMMLab.

Importing this package registers everything it holds, so one line in a config
does: ``custom_imports = dict(imports=['projects.oneformer'])``. Where torch is
not installed nothing is registered, and the modules that do without it can be
imported: ``runtime`` and ``results`` with what they are made of.
"""

import importlib.util

from .compat import check_stack, only_reporting
from .mmcv_ops import ensure_mmcv_ops
from .shipped_configs import config_path

if importlib.util.find_spec('torch') and not only_reporting():
    check_stack()
    ensure_mmcv_ops()

    from . import datasets, engine, evaluation, models, text, weights

__all__ = ['config_path']
