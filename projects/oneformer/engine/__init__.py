"""Hooks and optimizer rules. Importing this package registers them."""

from .drawing_hook import ResultDrawingHook
from .optim_constructor import ModuleTypeOptimConstructor
from .preflight_hook import PreflightHook
from .sharded_model import ShardedModel
from .task_table_hook import TaskTableHook

__all__ = [
    'ModuleTypeOptimConstructor',
    'PreflightHook',
    'ResultDrawingHook',
    'ShardedModel',
    'TaskTableHook',
]
