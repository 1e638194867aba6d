"""Trainings that are ended from outside, through the command line.

All of it: python -m pytest -m slow tests/engine/test_kill.py
"""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.toy_training import differing
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[2]
ITERATIONS = 24
KILLS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    make_demo_data(folder, num_train=6, num_val=1, size=64)
    return folder


def start(
    shapes: Path,
    work_dir: Path,
    *more: str,
    workers: int = 0,
    iterations: int = ITERATIONS,
    **options,
) -> subprocess.Popen:
    """Start a training that saves a checkpoint after each iteration."""
    command = [
        *(sys.executable, 'tools/train.py', 'configs/oneformer_r18_demo.py'),
        *('--work-dir', str(work_dir), *more, '--cfg-options'),
        f'train_dataloader.dataset.data_root={shapes}/',
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={workers > 0}',
        'train_dataloader.batch_size=2',
        *('val_dataloader=None', 'val_cfg=None', 'val_evaluator=None'),
        f'train_cfg.max_iters={iterations}',
        *('randomness.seed=None', 'default_hooks.logger.interval=1'),
        'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=2',
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def follow(process: subprocess.Popen, iteration: int) -> int:
    """Read the log up to an iteration, or the end; return the last one."""
    done = 0
    for line in process.stdout:
        if found := re.search(r'Iter\(train\) \[ *(\d+)/', line):
            done = int(found[1])
            if done >= iteration:
                break
    return done


@pytest.mark.parametrize('workers', [0, 2])
def test_training_killed_at_random_equals_training_that_was_not(
    shapes, tmp_path, workers
):
    dice = random.Random(workers)
    killed = tmp_path / 'killed'
    process = start(shapes, killed, workers=workers)
    follow(process, 1)
    # The initial weights are drawn: both trainings begin with these.
    first = killed / 'iter_1.pth'
    while not first.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    begin = tmp_path / 'begin.pth'
    begin.write_bytes(first.read_bytes())
    process.kill()
    done, kills = 1, 1
    while done < ITERATIONS:
        process = start(shapes, killed, '--resume', workers=workers)
        if kills < KILLS:
            follow(process, done + dice.choice([1, 1, 2]))
            # At any moment, also while the checkpoint is written.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0, 0.3))
            process.kill()
            kills += 1
        output, errors = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError(output + errors)
        done = max(
            int(path.stem.split('_')[1]) for path in killed.glob('iter_*.pth')
        )
    assert kills >= KILLS // 2
    whole = tmp_path / 'whole'
    process = start(shapes, whole, '--resume', str(begin), workers=workers)
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    last = f'iter_{ITERATIONS}.pth'
    assert differing(killed / last, whole / last) == []


def test_ctrl_c_saves_and_prints_the_command_that_continues(shapes, tmp_path):
    process = start(
        shapes, tmp_path, workers=2, iterations=9999, start_new_session=True
    )
    follow(process, 2)
    # A second training is refused in the meantime.
    second = start(shapes, tmp_path)
    _, errors = second.communicate()
    assert second.returncode == 1
    assert (
        errors.strip()
        .splitlines()[-1]
        .startswith(
            f'Another training writes to {tmp_path}: process {process.pid} on '
        )
    )
    # As a terminal does it: the whole group, the loader processes included.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGINT, output + errors
    assert 'Traceback' not in errors
    lines = output.strip().splitlines()
    found = re.search(r'after iteration (\d+), which is saved in', lines[-2])
    assert (tmp_path / f'iter_{found[1]}.pth').exists()
    assert lines[-1].startswith('Continue with: python tools/train.py confi')
    assert lines[-1].endswith(' --resume')


def test_a_full_disk_ends_the_training_in_one_line(shapes, tmp_path):
    limit = 2**20  # bytes of a file: less than a checkpoint has

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(shapes, tmp_path, preexec_fn=no_room)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert 'Traceback' not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f'{tmp_path}/iter_1.pth cannot be written: File ')
    assert '--resume continues with the newest' in last
    assert not any('.pth' in path.name for path in tmp_path.iterdir())
