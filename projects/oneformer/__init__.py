"""OneFormer for OpenMMLab.

Importing this package registers everything it holds, so one line in a config
does: ``custom_imports = dict(imports=['projects.oneformer'])``.
"""

from .compat import (
    check_stack,
    ensure_mmcv_ops,
    only_reporting,
    trust_mmengine_checkpoints,
)

if not only_reporting():
    check_stack()
    ensure_mmcv_ops()
    trust_mmengine_checkpoints()

    from . import datasets, engine, evaluation, models, text, weights
