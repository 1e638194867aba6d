"""No loader process outlives the process that it loads data for."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from projects.oneformer.engine.loader_process_hook import tie

# Two processes that wait until large batches are taken from them.
PROGRAM = """
import time
import numpy as np
from torch.utils.data import DataLoader
from projects.oneformer.engine.loader_process_hook import tie

loader = DataLoader(
    [np.zeros(1_000_000)] * 99,
    batch_size=1,
    num_workers=2,
    collate_fn=list,
)
tie(loader)
batches = iter(loader)
next(batches)
print('workers', *(process.pid for process in batches._workers), flush=True)
time.sleep(600)
"""


def is_running(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path('/proc', str(process), 'stat').read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(')')[2].split()[0] != 'Z'


@pytest.mark.skipif(sys.platform != 'linux', reason='needs prctl of Linux')
def test_loader_processes_end_with_the_process_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, '-c', PROGRAM],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in parent.stdout:  # imports print, too
            if line.startswith('workers'):
                break
        workers = [int(word) for word in line.split()[1:]]
        assert len(workers) == 2
        assert all(map(is_running, workers))
    finally:
        parent.kill()
        parent.wait()
    end = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


class Numbered(Dataset):
    """Samples that hold the number drawn in their process."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return int(np.random.randint(1_000_000))


def seed_numpy(worker: int) -> None:
    """Seed a process as a loader asks for it."""
    np.random.seed(100 + worker)


def test_the_loaders_own_initialisation_still_runs():
    loader = DataLoader(
        Numbered(), batch_size=1, num_workers=1, worker_init_fn=seed_numpy
    )
    tie(loader)
    tie(loader)
    drawn = [int(batch) for batch in loader]
    np.random.seed(100)
    assert drawn == [np.random.randint(1_000_000) for _ in range(4)]
