"""OneFormer for OpenMMLab.

Importing this package registers everything it holds, so one line in a config
does: ``custom_imports = dict(imports=['projects.oneformer'])``.
"""

from .compat import check_stack, only_reporting
from .mmcv_ops import ensure_mmcv_ops
from .shipped_configs import config_path

if not only_reporting():
    check_stack()
    ensure_mmcv_ops()

    from . import datasets, engine, evaluation, models, text, weights

__all__ = ['config_path']
