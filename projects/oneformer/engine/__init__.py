"""Training loop, hooks and optimizer rules.

Importing this package registers them.
"""

from .checkpoint_hook import WholeCheckpointHook
from .drawing_hook import ResultDrawingHook
from .interruption_hook import InterruptionHook, TrainingInterrupted
from .loader_process_hook import LoaderProcessHook
from .mask_annealing_hook import MaskAnnealingHook
from .optim_constructor import ModuleTypeOptimConstructor
from .preflight_hook import PreflightHook
from .sharded_model import ShardedModel
from .task_table_hook import TaskTableHook
from .train_loop import ReproducibleTrainLoop
from .two_stage_warmup import TwoStageWarmupPolyLR
from .vit_optim_constructor import ViTOptimConstructor
from .work_dir import WorkDirError, WorkDirLockHook

__all__ = [
    'InterruptionHook',
    'LoaderProcessHook',
    'MaskAnnealingHook',
    'ModuleTypeOptimConstructor',
    'PreflightHook',
    'ReproducibleTrainLoop',
    'ResultDrawingHook',
    'ShardedModel',
    'TaskTableHook',
    'TrainingInterrupted',
    'TwoStageWarmupPolyLR',
    'ViTOptimConstructor',
    'WholeCheckpointHook',
    'WorkDirError',
    'WorkDirLockHook',
]
