"""Train what a list says, several runs at a time, until a deadline.

Each run is a process with OpenMMLab's runner, in bfloat16 on a GPU. Before
the deadline runs stop with a checkpoint and are evaluated; the same command
goes on with those that are not at their end. Curves and scores of all runs
are in FILE.json and, as tables, FILE.md, from the first minute on.

A list is a JSON file, or a Python file with ``runs``: dicts of ``name``,
``config``, ``data`` (a name that --data gives a folder, in the COCO panoptic
layout), ``seed``, ``iterations`` and, if need be, ``cfg_options``. The data
``demo`` is drawn if no folder is given.

Run: python benchmarks/gpu_training.py --minutes 5 --out training.json \
    --data nuclei=FOLDER camvid=FOLDER
"""

import argparse
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'tools' / 'misc')]

from _gpu_store import source_state, write_whole  # noqa: E402

REQUIRED = {'name', 'config', 'data', 'seed', 'iterations'}
OPTIONAL = {'cfg_options'}
CURVE = ('loss', 'lr', 'grad_norm')
LOG_LINES = 30


def parse_args(args: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--runs', type=Path, default=ROOT / 'benchmarks/training_runs.json'
    )
    parser.add_argument('--minutes', type=float, required=True)
    parser.add_argument(
        '--out', type=Path, default=Path('training.json'), metavar='FILE.json'
    )
    parser.add_argument(
        '--data', nargs='+', default=[], metavar='NAME=FOLDER', help='of sets'
    )
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/gpu_training')
    )
    parser.add_argument(
        '--at-a-time', type=int, help='runs; 3 on a GPU, 1 on a CPU'
    )
    parser.add_argument(
        '--evaluation-seconds',
        type=float,
        help='kept for the evaluation at the end; by default a quarter of '
        'the minutes, 60 seconds at most',
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--precision', choices=['bfloat16', 'float32'])
    options = parser.parse_args(args)
    if options.out.suffix != '.json':
        parser.error(f'--out must end with .json, got {options.out}.')
    if options.device == 'cpu' and options.precision == 'bfloat16':
        parser.error('bfloat16 needs a GPU: leave out --precision on a CPU.')
    for pair in options.data:
        name, equals, folder = pair.partition('=')
        if not equals or not Path(folder).is_dir():
            parser.error(f'--data expects NAME=FOLDER, got {pair!r}.')
    return options


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

    def state(self) -> dict:
        """Return all there is to say of the run."""
        curve, scores = read_scalars(self.folder)
        report = self.report() or {}
        return dict(
            self.run,
            status=self.status,
            iteration=report.get('iteration')
            or (curve[-1]['iteration'] if curve else 0),
            scores=report.get('scores', {}),
            minutes=report.get('minutes'),
            device=report.get('device'),
            gib=report.get('gib'),
            curve=curve,
            scores_on_the_way=scores,
            log=log_end(self.folder) if 'failed' in self.status else [],
        )


def read_scalars(folder: Path) -> tuple[list[dict], list[dict]]:
    """Return the losses and the scores that the runner wrote, by iteration."""
    losses, scores = {}, {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # being written
            step = entry.pop('step', 0)
            if 'loss' in entry:
                own = {key: entry[key] for key in CURVE if key in entry}
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


def find_data(options: argparse.Namespace) -> dict[str, str]:
    """Return the folder of each data set."""
    folders = dict(pair.split('=', 1) for pair in options.data)
    return {n: str(Path(f).resolve()) for n, f in folders.items()}


def draw_demo(work_dir: Path) -> str:
    """Draw the demo's data, once, and return its folder."""
    from make_demo_data import make_demo_data

    folder = work_dir / 'demo_data'
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_demo_data(folder)
    return str(folder.resolve())


def main(args: list[str] | None = None) -> None:
    """Run the list."""
    options = parse_args(args)
    end = time.time() + 60 * options.minutes
    trainings = [
        Training(run, options.work_dir) for run in read_runs(options.runs)
    ]
    data = find_data(options)
    if 'demo' not in data and any(t.run['data'] == 'demo' for t in trainings):
        data['demo'] = draw_demo(options.work_dir)
    on_gpu = options.device == 'cuda'
    together = options.at_a_time or (3 if on_gpu else 1)
    reserve = options.evaluation_seconds or min(60, 15 * options.minutes)
    cores = max(1, len(os.sched_getaffinity(0)) // together)
    setting = dict(
        device=options.device,
        precision=options.precision or ('bfloat16' if on_gpu else 'float32'),
        stop_at=end - reserve,
        workers=max(1, min(8, cores - 1)),
        threads=0 if on_gpu else cores,
    )
    about = dict(
        source_state(), minutes=options.minutes, at_a_time=together, **setting
    )
    for training in trainings:
        if training.status == 'waiting' and training.run['data'] not in data:
            name = training.run['data']
            training.status = f'not run: no --data {name}=FOLDER'
    try:
        work(trainings, data, setting, together, end, options.out, about)
    finally:
        for training in trainings:
            training.end()
            if training.status == 'waiting':
                training.status = 'not run: out of time'
        write_state(trainings, about, options.out)
    for training in trainings:
        print(f'{training.run["name"]}: {training.status}')


def work(
    trainings: list[Training],
    data: dict[str, str],
    setting: dict,
    together: int,
    end: float,
    out: Path,
    about: dict,
) -> None:
    """Start runs as there is room, and write how they are, until the end."""
    while time.time() < end:
        busy = sum([training.poll() for training in trainings])
        for training in trainings:
            late = time.time() > setting['stop_at']
            if busy < together and training.status == 'waiting' and not late:
                folder = data[training.run['data']]
                training.begin(setting | dict(data_root=folder))
                busy += 1
        write_state(trainings, about, out)
        if not busy:
            return
        time.sleep(min(2, max(0, end - time.time())))


def write_state(trainings: list[Training], about: dict, out: Path) -> None:
    """Write both files."""
    states = [training.state() for training in trainings]
    write_whole(out, json.dumps(dict(about=about, runs=states), indent=1))
    write_whole(out.with_suffix('.md'), tables(states, about))


def tables(states: list[dict], about: dict) -> str:
    """Return scores and curves as Markdown."""
    lines = [
        '# Trained',
        '',
        f'Commit {about["commit"]} (sources {about["sources"]}), '
        f'{about["precision"]}, {about["at_a_time"]} at a time, deadline '
        f'{about["minutes"]:g} minutes.',
        '',
        '| run | status | iteration | minutes | GiB | PQ | AP | mIoU |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for state in states:
        scores = [
            cell(state['scores'], name)
            for name in ('panoptic/PQ', 'instance/segm_mAP', 'semantic/mIoU')
        ]
        minutes, gib = (
            f'{state[key]:.1f}' if state[key] else '-'
            for key in ('minutes', 'gib')
        )
        count = f'{state["iteration"]} of {state["iterations"]}'
        cells = [state['name'], state['status'], count, minutes, gib, *scores]
        lines.append('| ' + ' | '.join(cells) + ' |')
    for state in states:
        if state['curve']:
            lines += ['', f'## {state["name"]}, loss', '']
            lines += ['| iteration | loss |', '|---|---|']
            step = max(1, len(state['curve']) // 20)
            lines += [
                f'| {point["iteration"]} | {point["loss"]:.2f} |'
                for point in state['curve'][step - 1 :: step]
            ]
        if state['log']:
            lines += ['', f'## {state["name"]}, log', '', '```']
            lines += [*state['log'], '```']
    return '\n'.join([*lines, ''])


def cell(scores: dict, name: str) -> str:
    """Return a score in percent; AP comes as a fraction."""
    if name not in scores:
        return '-'
    value = scores[name] * (100 if 'mAP' in name else 1)
    return f'{value:.1f}'


if __name__ == '__main__':
    main()
