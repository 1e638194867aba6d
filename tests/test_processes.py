"""Runs of several processes: machines, Slurm, FSDP. All on CPUs."""

import os
import re
import subprocess
import sys

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from projects.oneformer.weights import read_checkpoint
from tests.recipe_twins import CONFIGS, load_config, make_images, shrink
from tests.test_tools import CONFIG, ROOT, free_port, run, short_run
from tools._processes import VARIABLES, first_host, join_processes
from tools.misc.make_demo_data import make_demo_data

# What Slurm does for two tasks: `srun OPTIONS PROGRAM ARGUMENTS`.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 "$@" &
done
wait -n && wait -n
"""


@pytest.fixture
def environment(monkeypatch):
    """Without the variables of any launcher."""
    for variables in VARIABLES.values():
        for own in variables.values():
            monkeypatch.delenv(own, raising=False)
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'SLURM_JOB_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def empty_config() -> Config:
    return Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))


def test_one_process_needs_nothing_of_its_environment(environment):
    config = empty_config()
    join_processes(config, 'none')
    assert config.launcher == 'none'
    assert config.env_cfg.dist_cfg.backend == 'nccl'


@pytest.mark.parametrize(
    ('launcher', 'starter'),
    [
        ('pytorch', 'tools/dist_train.sh'),
        ('slurm', 'tools/slurm_train.sh'),
        ('mpi', 'mpirun'),
    ],
)
def test_a_launcher_that_did_not_start_the_process_is_refused(
    environment, launcher, starter
):
    rank = VARIABLES[launcher]['RANK']
    with pytest.raises(SystemExit, match=rf'needs {rank}, .*{starter}'):
        join_processes(empty_config(), launcher)


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_the_numbers_of_a_launcher_become_those_of_pytorch(
    environment, launcher
):
    joined = []
    environment.setattr(torch.cuda, 'is_available', lambda: False)
    environment.setattr(torch.distributed, 'init_process_group', joined.append)
    numbers = dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1')
    for name, own in VARIABLES[launcher].items():
        environment.setenv(own, numbers[name])
    environment.setenv('MASTER_ADDR', 'first')
    for name in numbers:  # so that they are removed in the end
        environment.setenv(name, 'x')
    environment.setenv('MASTER_PORT', '29611')
    config = empty_config()
    join_processes(config, launcher)
    assert joined == ['gloo']
    assert {name: os.environ[name] for name in numbers} == numbers
    assert os.environ['MASTER_PORT'] == '29611'
    assert config.env_cfg.dist_cfg == dict(backend='gloo')
    assert config.model_wrapper_cfg.type == 'MMDistributedDataParallel'


def test_with_gpus_the_processes_are_joined_by_mmengine(environment):
    environment.setattr(torch.cuda, 'is_available', lambda: True)
    for own in VARIABLES['slurm'].values():
        environment.setenv(own, '0')
    config = empty_config()
    join_processes(config, 'slurm')
    expected = dict(empty_config().to_dict(), launcher='slurm')
    assert config.to_dict() == expected


def test_the_first_host_of_a_slurm_job_is_asked_of_slurm(
    environment, tmp_path
):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\nprintf "%s-a\\n%s-b\\n" "$3" "$3"\n')
    scontrol.chmod(0o755)
    environment.setenv('SLURM_JOB_NODELIST', 'node')
    environment.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert first_host('slurm') == 'node-a'
    environment.setenv('PATH', str(tmp_path / 'nothing'))
    with pytest.raises(SystemExit, match='needs MASTER_ADDR'):
        first_host('slurm')


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    make_demo_data(folder, num_train=8, num_val=3, size=64, seed=0)
    return short_run(folder)


def run_machines(script: str, *arguments, port: str) -> list[str]:
    """Run a script as on two machines; return what each of them prints."""
    machines = [
        subprocess.Popen(
            ['bash', f'tools/{script}', *map(str, arguments)],
            cwd=ROOT,
            env=dict(
                os.environ,
                CUDA_VISIBLE_DEVICES='',
                PYTHON=sys.executable,
                GLOO_SOCKET_IFNAME='lo',
                NNODES='2',
                NODE_RANK=str(rank),
                PORT=port,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [own.communicate(timeout=600)[0] for own in machines]
    finally:
        for machine in machines:
            machine.kill()
    for machine, output in zip(machines, outputs, strict=True):
        assert machine.returncode == 0, output
    return outputs


@pytest.mark.slow
def test_two_machines_train_and_test(options, tmp_path):
    own = ('--work-dir', tmp_path, *options)
    outputs = run_machines('dist_train.sh', CONFIG, 1, *own, port=free_port())
    assert sum('GPU number: 2' in output for output in outputs) == 1
    checkpoint = tmp_path / 'iter_2.pth'
    first, _ = run_machines(
        'dist_test.sh', CONFIG, checkpoint, 1, *own, port=free_port()
    )
    assert re.search(r'task token \| panoptic \| ', first)


@pytest.mark.slow
def test_two_tasks_of_slurm_train_and_test(options, tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text(SRUN)
    srun.chmod(0o755)
    variables = dict(
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GLOO_SOCKET_IFNAME='lo',
        MASTER_ADDR='127.0.0.1',
    )
    work_dir = tmp_path / 'run'
    process = run(
        *('bash', 'tools/slurm_train.sh', 'cpu', 'job', CONFIG, work_dir),
        *options,
        MASTER_PORT=free_port(),
        **variables,
    )
    assert 'GPU number: 2' in process.stdout
    process = run(
        *('bash', 'tools/slurm_test.sh', 'cpu', 'job', CONFIG),
        *(work_dir / 'iter_2.pth', '--work-dir', work_dir, *options),
        MASTER_PORT=free_port(),
        **variables,
    )
    assert re.search(r'task token \| panoptic \| ', process.stdout)


@pytest.fixture(scope='module')
def swin(tmp_path_factory):
    """The recipe of Swin, small, with and without the brick for FSDP."""
    folder = tmp_path_factory.mktemp('swin')
    config = shrink(load_config('oneformer_swin-t_coco'))
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        make_images(loader.dataset, folder, count=4)
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.checkpoint.interval = 2
    config.default_hooks.logger.interval = 1
    config.randomness = dict(seed=1)
    config.dump(folder / 'whole.py')
    config.merge_from_dict(dict(Config.fromfile(CONFIGS / '_base_/fsdp.py')))
    config.strategy.model_wrapper.min_layer_params = 1
    config.dump(folder / 'sharded.py')
    return folder


def train_both(config, work_dir) -> list[float]:
    """Train on two processes; return the loss of each iteration."""
    process = run(
        *('tools/dist_train.sh', config, 2, '--work-dir', work_dir),
        PORT=free_port(),
        GLOO_SOCKET_IFNAME='lo',
    )
    return [
        float(loss)
        for loss in re.findall(
            r'Iter\(train\).* loss: ([\d.]+)', process.stdout
        )
    ]


@pytest.mark.slow
def test_sharded_training_is_that_of_whole_models(swin, tmp_path):
    losses, states = {}, {}
    for name in ('sharded', 'whole'):
        losses[name] = train_both(swin / f'{name}.py', tmp_path / name)
        file = tmp_path / name / 'iter_2.pth'
        states[name] = read_checkpoint(str(file))['state_dict']
    assert len(losses['whole']) == 2
    assert losses['sharded'] == pytest.approx(losses['whole'], rel=1e-4)
    model = MODELS.build(Config.fromfile(swin / 'whole.py').model)
    model.load_state_dict(states['sharded'])
    for name, weights in states['whole'].items():
        # A step moves them by 1e-4, or 1e-5 in the backbone.
        torch.testing.assert_close(
            states['sharded'][name], weights, rtol=0, atol=1e-6
        )
