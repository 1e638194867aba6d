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
import json
import time
from pathlib import Path

from _gpu_store import source_state, write_whole
from _trainings import (
    ROOT,
    Training,
    draw_data,
    log_end,
    read_folders,
    read_runs,
    read_scalars,
    share_processor,
    work,
)


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
    try:
        options.data = read_folders(options.data)
    except ValueError as error:
        parser.error(str(error))
    return options


def state_of(training: Training) -> dict:
    """Return all there is to say of a run."""
    curve, scores = read_scalars(training.folder)
    report = training.report() or {}
    failed = 'failed' in training.status
    return dict(
        training.run,
        status=training.status,
        iteration=report.get('iteration')
        or (curve[-1]['iteration'] if curve else 0),
        scores=report.get('scores', {}),
        minutes=report.get('minutes'),
        device=report.get('device'),
        gib=report.get('gib'),
        curve=curve,
        scores_on_the_way=scores,
        log=log_end(training.folder) if failed else [],
    )


def main(args: list[str] | None = None) -> None:
    """Run the list."""
    options = parse_args(args)
    end = time.time() + 60 * options.minutes
    trainings = [
        Training(run, options.work_dir) for run in read_runs(options.runs)
    ]
    data = options.data
    if 'demo' not in data and any(t.run['data'] == 'demo' for t in trainings):
        data['demo'] = draw_data(options.work_dir / 'demo_data')
    on_gpu = options.device == 'cuda'
    together = options.at_a_time or (3 if on_gpu else 1)
    reserve = options.evaluation_seconds or min(60, 15 * options.minutes)
    setting = dict(
        device=options.device,
        precision=options.precision or ('bfloat16' if on_gpu else 'float32'),
        stop_at=end - reserve,
        **share_processor(together, on_gpu),
    )
    about = dict(
        source_state(), minutes=options.minutes, at_a_time=together, **setting
    )
    work(
        trainings,
        data,
        setting,
        together,
        end,
        lambda: write_state(trainings, about, options.out),
    )
    for training in trainings:
        print(f'{training.run["name"]}: {training.status}')


def write_state(trainings: list[Training], about: dict, out: Path) -> None:
    """Write both files."""
    states = [state_of(training) for training in trainings]
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
