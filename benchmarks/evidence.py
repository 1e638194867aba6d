"""Train the runs behind docs/results.md; make its tables, figures, gallery.

``run`` trains what benchmarks/evidence_runs.py lists, in order, one run after
the other. After an interruption of any kind the same command goes on from the
last checkpoints. Each run leaves one file in benchmarks/evidence/; a run that
has one at its end is not trained again. ``tables`` and ``figures`` are made of
these files alone, ``gallery`` of the last checkpoints of runs.

    python benchmarks/evidence.py run --data nuclei=FOLDER camvid=FOLDER
    python benchmarks/evidence.py status
    python benchmarks/evidence.py tables
    python benchmarks/evidence.py figures
    python benchmarks/evidence.py gallery --data nuclei=FOLDER

The drawn data (``shapes``) is made if no folder is given. Runs whose data has
no folder are left out, with a message.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from _evidence_results import (
    GALLERY,
    is_complete,
    read_result,
    result_of,
    setting_of,
    write_result,
)
from _gpu_store import write_whole
from _trainings import (
    ROOT,
    SHEET,
    Training,
    draw_data,
    log_end,
    read_folders,
    read_runs,
    share_processor,
    work,
)

RUNS = ROOT / 'benchmarks' / 'evidence_runs.py'
RESULTS = ROOT / 'benchmarks' / 'evidence'
PAGES = [
    ROOT / 'docs' / name
    for name in ('results.md', 'gallery.md', 'small_data.md', 'encoder.md')
]
IMAGES = ROOT / 'docs' / 'images'
SHAPES = dict(num_train=320, num_val=60, num_test=160, size=96, hard=True)
# The same with more images for training.
MANY_SHAPES = dict(SHAPES, num_train=2000)
#: Classes that instances_train_some.json annotates, for mixed annotations.
SOME_THINGS = ('disc', 'square')


def parse_args(args: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='train, or go on')
    status = commands.add_parser('status', help='of every run')
    gallery = commands.add_parser(
        'gallery', help='draw what models predict, gallery-NAME.jpg of each'
    )
    for command, chosen in ((run, 'all'), (status, 'all'), (gallery, GALLERY)):
        command.add_argument(
            'patterns',
            nargs='*',
            metavar='PATTERN',
            default=[] if chosen == 'all' else list(chosen),
            help='names of runs or settings, as shapes-joint or shapes-*-0; '
            f'by default {chosen if chosen == "all" else ", ".join(chosen)}',
        )
        command.add_argument('--runs', type=Path, default=RUNS)
        command.add_argument(
            '--work-dir', type=Path, default=Path('work_dirs/evidence')
        )
    run.add_argument('--jobs', type=int, default=1, help='runs at a time')
    for command in (run, gallery):
        command.add_argument(
            '--data',
            nargs='+',
            default=[],
            metavar='NAME=FOLDER',
            help='of sets',
        )
    run.add_argument(
        '--minutes',
        type=float,
        help='stop then, with checkpoints to go on from',
    )
    run.add_argument('--device', choices=['cuda', 'cpu'], default='cpu')
    run.add_argument('--precision', choices=['bfloat16', 'float32'])
    tables = commands.add_parser('tables', help='write those of the pages')
    tables.add_argument('--page', type=Path, nargs='+', default=PAGES)
    figures = commands.add_parser('figures', help='draw those of the pages')
    for command in (figures, gallery):
        command.add_argument('--images', type=Path, default=IMAGES)
    for command in (run, status, tables, figures):
        command.add_argument('--results', type=Path, default=RESULTS)
    options = parser.parse_args(args)
    if options.command == 'run' and (
        options.precision == 'bfloat16' and options.device == 'cpu'
    ):
        parser.error('bfloat16 needs --device cuda.')
    if options.command in ('run', 'gallery'):
        try:
            options.data = read_folders(options.data)
        except ValueError as error:
            parser.error(str(error))
    return options


def main(args: list[str] | None = None) -> None:
    """Do what the command line says."""
    options = parse_args(args)
    commands = (run, status, tables, figures, gallery)
    {command.__name__: command for command in commands}[options.command](
        options
    )


def choose(runs: list[dict], patterns: list[str]) -> list[dict]:
    """Return the runs whose name, or setting, has one of the patterns.

    Raises:
        SystemExit: If a pattern fits none.
    """
    if not patterns:
        return runs
    for pattern in patterns:
        if not any(fits(run, pattern) for run in runs):
            sys.exit(f'No run has a name like {pattern}: see `status`.')
    return [run for run in runs if any(fits(run, p) for p in patterns)]


def fits(run: dict, pattern: str) -> bool:
    """Whether a name, or that of the setting, has a pattern."""
    name = run['name']
    return fnmatch(name, pattern) or fnmatch(setting_of(name), pattern)


def trainings_of(options: argparse.Namespace) -> list[Training]:
    """Return the chosen runs, those that have a result being done."""
    trainings = []
    for run in choose(read_runs(options.runs), options.patterns):
        training = Training(run, options.work_dir)
        # Done is what has a result, which may have come from elsewhere.
        training.status = 'waiting'
        try:
            if is_complete(read_result(options.results, run)):
                training.status = 'done'
        except ValueError as error:
            training.status = f'not run: {error}'
        trainings.append(training)
    return trainings


def run(options: argparse.Namespace) -> None:
    """Train the chosen runs."""
    # Of a shutdown: then the processes of runs are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Terminated.'))
    trainings = trainings_of(options)
    data = with_shapes(options, [t.run for t in trainings])
    on_gpu = options.device == 'cuda'
    end = time.time() + 60 * (options.minutes or 1e6)
    reserve = min(60, 15 * options.minutes) if options.minutes else 0
    setting = dict(
        device=options.device,
        precision=options.precision or ('bfloat16' if on_gpu else 'float32'),
        stop_at=end - reserve,
        **share_processor(options.jobs, on_gpu),
    )
    recorder = Recorder(trainings, options.results)
    work(trainings, data, setting, options.jobs, end, recorder)
    status(options)


def with_shapes(
    options: argparse.Namespace, runs: list[dict]
) -> dict[str, str]:
    """Return the folders of data; drawn ones are made if runs need them."""
    missing = {run['data'] for run in runs} - set(options.data)
    data = dict(options.data)
    if 'shapes' in missing:
        data['shapes'] = draw_shapes(options.work_dir / 'shapes')
    if 'many-shapes' in missing:
        folder = options.work_dir / 'many-shapes'
        data['many-shapes'] = draw_data(folder, **MANY_SHAPES)
    return data


def draw_shapes(folder: Path) -> str:
    """Draw the hard images, and leave some annotations out of a copy."""
    drawn = draw_data(folder, **SHAPES)
    annotations = folder / 'annotations'
    some = annotations / 'instances_train_some.json'
    if not some.exists():
        content = json.loads(
            (annotations / 'instances_train.json').read_text()
        )
        content['categories'] = [
            c for c in content['categories'] if c['name'] in SOME_THINGS
        ]
        ids = {c['id'] for c in content['categories']}
        content['annotations'] = [
            a for a in content['annotations'] if a['category_id'] in ids
        ]
        write_whole(some, json.dumps(content))
    return drawn


class Recorder:
    """Writes results, and a line for each run that begins or ends.

    Args:
        trainings (list[Training]): Whose results to write.
        folder (Path): For the files.
    """

    def __init__(self, trainings: list[Training], folder: Path) -> None:
        self.trainings = trainings
        self.folder = folder
        self.seen = {t.run['name']: t.status for t in trainings}
        self.written = 0.0

    def __call__(self) -> None:
        """Note what has changed since the last call."""
        late = time.time() > self.written + 60
        for training in self.trainings:
            name, now = training.run['name'], training.status
            if now != self.seen[name]:
                print(time.strftime('%H:%M'), f'{name}: {now}', flush=True)
                if 'failed' in now:
                    print(*log_end(training.folder), sep='\n', flush=True)
            changed = now != self.seen[name]
            if changed or (late and training.process is not None):
                self.write(training)
            self.seen[name] = now
        if late:
            self.written = time.time()

    def write(self, training: Training) -> None:
        """Write the result of a run that was validated."""
        if not (training.folder / 'sessions.jsonl').exists():
            return
        result = result_of(training)
        if result['validation']:
            write_result(self.folder, result)
        sheet = training.folder / SHEET
        if training.status == 'done' and sheet.exists():
            shutil.copy(sheet, self.folder / f'{training.run["name"]}.jpg')


def status(options: argparse.Namespace) -> None:
    """Print a line for each run."""
    for training in trainings_of(options):
        run = training.run
        line = training.status
        if line == 'waiting' and (training.folder / 'sessions.jsonl').exists():
            result = result_of(training)
            line = f'{result["iteration"]} of {run["iterations"]} iterations'
        elif line == 'done':
            result = read_result(options.results, run)
            line = f'done in {result["minutes"]:.0f} minutes'
        print(f'{run["name"]:36}{line}')


def tables(options: argparse.Namespace) -> None:
    """Write the tables into the pages."""
    from _evidence_tables import fill_page

    for page in options.page:
        fill_page(page, options.results)


def figures(options: argparse.Namespace) -> None:
    """Draw the figures."""
    from _evidence_figures import draw_figures

    draw_figures(options.images, options.results)


def gallery(options: argparse.Namespace) -> None:
    """Draw what the models of some runs predict."""
    from _evidence_gallery import draw_gallery

    runs = choose(read_runs(options.runs), options.patterns)
    data = with_shapes(options, runs)
    for run in runs:
        name = run['name']
        if run['data'] not in data:
            print(f'{name}: not drawn: no --data {run["data"]}=FOLDER')
            continue
        path = options.images / f'gallery-{name}.jpg'
        try:
            draw_gallery(run, options.work_dir / name, data[run['data']], path)
        except FileNotFoundError as error:
            sys.exit(f'{name}: {error}')
        print(f'{name}: {path}')


if __name__ == '__main__':
    main()
