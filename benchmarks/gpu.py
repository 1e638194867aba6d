"""Measure on a GPU, in two plans that each end in time.

Plan ``first`` (7 minutes): the tests marked ``gpu``, deformable attention
against mmcv's operator, inference and training against transformers and
mmdet's Mask2Former, lean layers. Plan ``second`` (5 minutes):
compiled networks, batch sizes, three tasks, results of 1024 x 2048,
evaluation, loading.

Each job is a process of its own with a limit. Its rows are written when they
are measured, to FILE.json, and as tables to FILE.md. Called again, the
command leaves out what was measured to its end with the same sources on the
same card. docs/gpu.md explains the rows.

Run: python benchmarks/gpu.py --plan first --out gpu.json
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _gpu_jobs import find_job, plans
from _gpu_store import Store, source_state, write_whole

ROOT = Path(__file__).resolve().parent.parent
LOG_LINES = 30
# For ending a process and writing the files.
MARGIN = 3.0


def parse_args(args: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    known = plans()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--plan', choices=known, default='first')
    parser.add_argument(
        '--out', type=Path, default=Path('gpu.json'), metavar='FILE.json'
    )
    parser.add_argument(
        '--jobs',
        nargs='+',
        metavar='NAME',
        help='only these of the plan: '
        + '; '.join(
            f'{plan}: {", ".join(repr(job.name) for job in own.jobs)}'
            for plan, own in known.items()
        ).replace('%', '%%'),
    )
    parser.add_argument(
        '--minutes',
        type=float,
        help="in place of the plan's own; limits of jobs grow with them",
    )
    parser.add_argument(
        '--again', action='store_true', help='measure what was measured, too'
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='tiny networks: whether it runs, not how fast',
    )
    # Options of a process of the command.
    parser.add_argument('--job', help=argparse.SUPPRESS)
    parser.add_argument('--rows', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.out.suffix != '.json':
        parser.error(f'--out must end with .json, got {options.out}.')
    names = [job.name for job in known[options.plan].jobs]
    if unknown := set(options.jobs or ()) - set(names):
        parser.error(
            f'plan {options.plan} has no {sorted(unknown)}, it has {names}.'
        )
    if options.device == 'cpu' and not options.tiny:
        parser.error('on a CPU only --tiny networks finish in time.')
    return options


def main(args: list[str] | None = None) -> None:
    """Run the jobs of a plan, one after the other."""
    options = parse_args(args)
    if options.job:
        run_job(options)
        return
    start = time.monotonic()
    import torch
    from _gpu_measure import machine

    if options.device == 'cuda' and not torch.cuda.is_available():
        sys.exit(
            'PyTorch finds no GPU. Run it on a machine with one; to see only '
            'whether it runs, use --device cpu --tiny.'
        )
    plan = plans()[options.plan]
    seconds = 60 * options.minutes if options.minutes else plan.seconds
    stretch = seconds / plan.seconds
    end = start + seconds - MARGIN
    about = machine(options.device) | source_state()
    about.update(tiny=options.tiny)
    store = Store(options.out)
    setting = {key: about[key] for key in ('card', 'tiny', 'sources')}
    for job in plan.jobs:
        if options.jobs and job.name not in options.jobs:
            continue
        if not options.again and store.done(job.name, setting):
            print(f'{job.name}: measured before')
            continue
        left = end - time.monotonic()
        found = dict(status='not run: out of time', seconds=0.0, rows=[])
        if left > job.least:
            limit = min(stretch * job.limit, left)
            command = [sys.executable, __file__, '--job', job.name]
            command += ['--device', options.device]
            found = run_process(command + ['--tiny'] * options.tiny, limit)
        name = dict(name=job.name, plan=options.plan)
        store.put(name | about | found)
        print(
            f'{job.name}: {found["status"]}, {len(found["rows"])} rows, '
            f'{found["seconds"]:.0f} s',
            flush=True,
        )
    print(
        f'{(time.monotonic() - start) / 60:.1f} minutes; see '
        f'{options.out.with_suffix(".md")}'
    )


def run_process(command: list[str], limit: float) -> dict:
    """Run a job in its own process, and return what it left.

    Args:
        command (list[str]): Of the process, which writes its rows to the file
            that follows as ``--rows FILE``.
        limit (float): Seconds after which it is ended, with its children.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder, 'rows.json'), Path(folder, 'log.txt')
        with open(log, 'w') as output:
            process = subprocess.Popen(
                [*command, '--rows', str(rows)],
                cwd=ROOT,
                env=os.environ | dict(PYTHONUNBUFFERED='1'),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = wait(process, limit)
        found = json.loads(rows.read_text()) if rows.exists() else []
        lines = log.read_text(errors='replace').splitlines()[-LOG_LINES:]
    failed = status != 'done' or any('failed' in row for row in found)
    return dict(
        status=status,
        seconds=time.monotonic() - start,
        rows=found,
        log=lines if failed else [],
    )


def wait(process: subprocess.Popen, limit: float) -> str:
    """Wait for a process, end it with its children if it takes too long."""
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        # Its children, too, such as those of the compiler and the loader.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code is None:
        return f'ended after its limit of {limit:.0f} s'
    return 'done' if code == 0 else f'failed with exit status {code}'


def run_job(options: argparse.Namespace) -> None:
    """Do the work of one process."""
    sys.path.insert(0, str(ROOT))
    import warnings

    from _gpu_measure import Meter

    warnings.filterwarnings('ignore')
    rows = []

    def write(row: dict) -> None:
        rows.append(row)
        write_whole(options.rows, json.dumps(rows))
        print(row, flush=True)

    find_job(options.job).run(Meter(options.device, options.tiny, write))


if __name__ == '__main__':
    main()
