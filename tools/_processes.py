"""Join the processes of a distributed run, on GPUs or without any."""

import os
import shutil
import subprocess
import sys

# How a launcher numbers its processes, and what starts them.
VARIABLES = {
    'pytorch': dict(
        RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK'
    ),
    'slurm': dict(
        RANK='SLURM_PROCID',
        WORLD_SIZE='SLURM_NTASKS',
        LOCAL_RANK='SLURM_LOCALID',
    ),
    'mpi': dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
STARTERS = dict(
    pytorch='torchrun (tools/dist_train.sh)',
    slurm='srun (tools/slurm_train.sh)',
    mpi='mpirun',
)


def join_processes(config, launcher: str) -> None:
    """Prepare the config of a run for its launcher.

    With GPUs mmengine joins the processes, when it builds the runner. It
    needs a GPU for each of them, so without any they are joined here, by
    gloo.

    Args:
        config (Config): Of the run; changed in place.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
    """
    config.launcher = launcher
    if launcher == 'none':
        return
    variables = VARIABLES[launcher]
    if missing := [own for own in variables.values() if own not in os.environ]:
        sys.exit(
            f'--launcher {launcher} needs {", ".join(missing)} in the '
            f'environment, where {STARTERS[launcher]} sets them.'
        )
    import torch

    if torch.cuda.is_available():
        return
    for name, own in variables.items():
        os.environ[name] = os.environ[own]
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = first_host(launcher)
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo')
    config.env_cfg.dist_cfg = dict(backend='gloo')
    if 'strategy' in config:
        shard_on_cpus(config.strategy)
    else:
        config.setdefault(
            'model_wrapper_cfg',
            dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                device_ids=None,
            ),
        )


def shard_on_cpus(strategy) -> None:
    """Change a config of mmengine's FSDP strategy, which assumes GPUs."""
    strategy.setdefault('model_wrapper', {})
    strategy.model_wrapper.setdefault('device_id', 'cpu')
    if strategy.get('state_dict_cfg') == 'full':
        # But for the offloading, by which a copy on a CPU is none: it would
        # be written from memory that is freed before.
        options = dict(rank0_only=True, offload_to_cpu=False)
        strategy.state_dict_cfg = dict(
            state_dict_type='FULL_STATE_DICT',
            state_dict_config=dict(type='FullStateDictConfig', **options),
            optim_state_dict_config=dict(
                type='FullOptimStateDictConfig', **options
            ),
        )


def first_host(launcher: str) -> str:
    """Return the host of the first process of a Slurm job."""
    nodes = os.environ.get('SLURM_JOB_NODELIST')
    if launcher != 'slurm' or not nodes or not shutil.which('scontrol'):
        sys.exit(
            f'--launcher {launcher} needs MASTER_ADDR in the environment: '
            'the host of the first process.'
        )
    hosts = subprocess.run(
        ['scontrol', 'show', 'hostnames', nodes],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return hosts.split()[0]
