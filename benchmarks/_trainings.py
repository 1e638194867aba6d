"""Runs of a list: what they are, their processes, and what these wrote."""

import contextlib
import fcntl
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from _gpu_store import write_whole

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'tools' / 'misc')]

REQUIRED = {'name', 'config', 'data', 'seed', 'iterations'}
OPTIONAL = {
    *('cfg_options', 'network', 'pictures', 'steps'),
    *('tokens', 'validate_every'),
}
SHEET = 'tokens.jpg'
CURVE = ('loss', 'lr', 'grad_norm')
LOG_LINES = 30


def read_runs(path: Path) -> list[dict]:
    """Return the runs of a list.

    Raises:
        SystemExit: If it is not one, or a run lacks something.
    """
    if not path.is_file():
        sys.exit(f'The list of runs {path} does not exist.')
    if path.suffix == '.py':
        runs = runpy.run_path(str(path)).get('runs')
    else:
        runs = json.loads(path.read_text())
    if not isinstance(runs, list):
        sys.exit(f'{path} must hold a list of runs.')
    for run in runs:
        if not REQUIRED <= run.keys() <= REQUIRED | OPTIONAL:
            sys.exit(
                f'A run of {path} needs {sorted(REQUIRED)} and may have '
                f'{sorted(OPTIONAL)}, got {sorted(run)}.'
            )
        if not (ROOT / run['config']).is_file():
            sys.exit(f'{path}: {run["config"]} does not exist.')
    names = [run['name'] for run in runs]
    if len(set(names)) < len(names):
        sys.exit(f'{path} names a run twice: {sorted(names)}.')
    return runs


def read_folders(pairs: Sequence[str]) -> dict[str, str]:
    """Return the folder of each data set, given as NAME=FOLDER.

    Raises:
        ValueError: If a pair is none, or a folder does not exist.
    """
    folders = {}
    for pair in pairs:
        name, equals, folder = pair.partition('=')
        if not equals or not Path(folder).is_dir():
            raise ValueError(f'--data expects NAME=FOLDER, got {pair!r}.')
        folders[name] = str(Path(folder).resolve())
    return folders


def draw_data(folder: Path, **options) -> str:
    """Draw a data set, once, and return its folder.

    Args:
        folder (Path): To make.
        **options: Of ``make_demo_data``.
    """
    from make_demo_data import make_demo_data

    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_demo_data(folder, **options)
    return str(folder.resolve())


class Training:
    """A run of the list, its process and its files.

    Args:
        run (dict): As in the list.
        work_dir (Path): For its files.
    """

    def __init__(self, run: dict, work_dir: Path) -> None:
        self.run = run
        self.folder = work_dir / run['name']
        self.process: subprocess.Popen | None = None
        self.status = 'waiting'
        report = self.report()
        if report and report['iteration'] >= run['iterations']:
            self.status = 'done'

    def report(self) -> dict | None:
        """Return what the last process left, None if it left nothing."""
        path = self.folder / 'scores.json'
        return json.loads(path.read_text()) if path.exists() else None

    def begin(self, setting: dict) -> None:
        """Start, or go on.

        Raises:
            SystemExit: If the folder holds a run of other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(BlockingIOError), lock(self.folder):
            return self._begin(setting)
        self.status = 'not run: another process trains it'

    def _begin(self, setting: dict) -> None:
        kept = self.folder / 'listed.json'
        if kept.exists() and json.loads(kept.read_text()) != self.run:
            sys.exit(
                f'{self.folder} holds another run of this name: give the run '
                'another name, or --work-dir another folder.'
            )
        write_whole(kept, json.dumps(self.run))
        (self.folder / 'scores.json').unlink(missing_ok=True)
        spec = self.folder / 'run.json'
        work_dir = str(self.folder.resolve())
        write_whole(
            spec, json.dumps(self.run | setting | dict(work_dir=work_dir))
        )
        environ = dict(os.environ)
        if setting['device'] == 'cpu':
            environ['CUDA_VISIBLE_DEVICES'] = ''
        with open(self.folder / 'log.txt', 'a') as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / 'benchmarks/_training_run.py', spec],
                cwd=ROOT,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.status = 'training'

    def poll(self) -> bool:
        """Return whether the process is at work; note how it ended."""
        if self.process is None:
            return False
        code = self.process.poll()
        if code is None:
            return True
        self.process = None
        report = self.report()
        if code or report is None:
            self.status = f'failed with exit status {code}'
        elif report['iteration'] < self.run['iterations']:
            self.status = 'stopped in time, to be continued'
        else:
            self.status = 'done'
        return False

    def end(self) -> None:
        """End the process and its children at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            self.status = 'ended without evaluation, to be continued'


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes from the files of a run.

    Raises:
        BlockingIOError: If another process does so already.
    """
    with open(folder / 'lock', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def share_processor(together: int, on_gpu: bool) -> dict[str, int]:
    """Return the settings that share the processor between runs.

    Args:
        together (int): Runs at a time.
        on_gpu (bool): Whether they compute on a GPU.
    """
    cores = max(1, len(os.sched_getaffinity(0)) // together)
    return dict(
        workers=max(1, min(8, cores - 1)), threads=0 if on_gpu else cores
    )


def work(
    trainings: list[Training],
    data: dict[str, str],
    setting: dict,
    together: int,
    end: float,
    report: Callable[[], None],
) -> None:
    """Start runs as there is room, until the end.

    Args:
        trainings (list[Training]): Those that wait are started in order.
        data (dict[str, str]): Folder of each data set.
        setting (dict): Of all processes; see ``_training_run.py``.
        together (int): Runs at a time.
        end (float): Moment to return at, runs done or not.
        report (Callable): Called every two seconds.
    """
    for training in trainings:
        name = training.run['data']
        if training.status == 'waiting' and name not in data:
            training.status = f'not run: no --data {name}=FOLDER'
    try:
        while time.time() < end:
            busy = sum([training.poll() for training in trainings])
            for training in trainings:
                late = time.time() > setting['stop_at']
                if busy < together and training.status == 'waiting':
                    if late:
                        break
                    folder = data[training.run['data']]
                    training.begin(setting | dict(data_root=folder))
                    busy += 1
            report()
            if not busy:
                return
            time.sleep(min(2, max(0, end - time.time())))
    finally:
        for training in trainings:
            training.end()
            if training.status == 'waiting':
                training.status = 'not run: out of time'
        report()


def read_scalars(
    folder: Path, terms: Sequence[str] = CURVE
) -> tuple[list[dict], list[dict]]:
    """Return the losses and the scores that the runner wrote, by iteration.

    Args:
        folder (Path): Of the run.
        terms (Sequence[str]): What to take of the losses.
    """
    losses, scores = {}, {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # being written
            step = entry.pop('step', 0)
            if 'loss' in entry:
                own = {key: entry[key] for key in terms if key in entry}
                losses[step] = dict(iteration=step, **own)
            else:
                scores[step] = dict(iteration=step, **entry)
    return (
        [losses[step] for step in sorted(losses)],
        [scores[step] for step in sorted(scores)],
    )


def log_end(folder: Path) -> list[str]:
    """Return the last lines of the log."""
    path = folder / 'log.txt'
    if not path.exists():
        return []
    return path.read_text(errors='replace').splitlines()[-LOG_LINES:]
