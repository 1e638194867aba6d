"""``oneformer train DATA``: from a folder of data to a tested model.

Writes the config unless it exists, checks the data, trains, tests and draws.
The same command resumes: what is done is not done again.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from copy import deepcopy
from pathlib import Path

from _cli import load_config, set_work_dir
from _precision import choose_precision
from _whole_run import duration, log_file, run

MEASURED, SKIPPED = 8, 2  # iterations, of which the first are slower
MEASURED_IMAGES = 3
FEWEST = 20  # iterations that are worth a training
SPARE = 0.9  # of the minutes; the rest is for what is not measured


def run_on_data(args: argparse.Namespace) -> None:
    """Train on a folder of data.

    Args:
        args (argparse.Namespace): Of ``tools/train.py``, with those of
            ``tools/init.py``.
    """
    import init

    warnings.filterwarnings('ignore', 'torch.meshgrid')  # mmdet's, harmless
    path = init.config_path(args)
    if path.exists():
        note = ', so --minutes has no effect' if args.minutes else ''
        print(f'{path} exists and is used as it is{note}.')
    else:
        plan = init.make_plan(args, path)
        if args.minutes:
            plan = fit(plan, path, args)
        init.write(plan, path)
        print(init.report(plan))
        print(f'Wrote {path}.')
    args.config = str(path)
    config = quiet_config(args)
    if not started(config):
        check(path, args.cfg_options)
    run(config)


def quiet_config(args: argparse.Namespace):
    """Return the config for the options; messages of imports are logged."""
    folder = Path(args.work_dir or f'work_dirs/{Path(args.config).stem}')
    with log_file(folder) as log, contextlib.redirect_stdout(log):
        config = load_config(args.config, args.cfg_options)
    choose_precision(config, args)
    set_work_dir(config, args)
    return config


def started(config) -> bool:
    """Whether the training has a checkpoint."""
    return any(Path(config.work_dir).glob('iter_*.pth'))


def check(path: Path, overrides: dict) -> None:
    """Check the data of a config as ``oneformer check`` does."""
    import dataset_validation as checks

    print(f'Checking the data of {path}')
    sets, remarks = checks.sets_of_config(str(path), overrides)
    workers = min(8, os.cpu_count() or 1)
    report = checks.check_sets(sets, workers, sys.stderr.isatty())
    for remark in remarks:
        print(f'Not checked: {remark}')
    if report.findings:
        print(report.text(3))
    if report.exit_code():
        sys.exit(
            f'The data of {path} has errors, see above. Mend them; `oneformer '
            'check` with --fix writes a corrected copy of most.'
        )


# ------------------------------------------------------------------ budget


def fit(plan, path: Path, args: argparse.Namespace):
    """Return the plan with as many iterations as the minutes allow.

    A few iterations are trained and a few images tested, to know how long
    they take. The schedule that the rules chose is the most.
    """
    import init
    from own_data.rules import Choice

    print(f'Measuring {MEASURED} iterations')
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, path.name)
        init.write(plan, draft)
        trial = argparse.Namespace(
            **vars(args) | dict(config=str(draft), work_dir=folder)
        )
        start = time.time()
        step, image = measure(quiet_config(trial), folder)
        beginning = time.time() - start - step * MEASURED
    tested = plan.measures.num_val * image
    budget = 60 * args.minutes * SPARE - beginning - tested
    planned = plan.choices['iterations']
    number = int(budget / step)
    facts = (
        f'{step:.2g} s an iteration, {duration(tested)} for the test, '
        f'{duration(beginning)} to begin'
    )
    if number < FEWEST:
        least = (FEWEST * step + beginning + tested) / 60 / SPARE
        sys.exit(
            f'{args.minutes:g} minutes allow {max(0, number)} iterations '
            f'({facts}): give at least --minutes {least:.1f}.'
        )
    if number >= planned.value:
        return plan.with_iterations(
            Choice(
                planned.value,
                f'{planned.why}; fewer than {args.minutes:g} minutes allow '
                f'({facts})',
            )
        )
    return plan.with_iterations(
        Choice(
            number,
            f'what {args.minutes:g} minutes allow ({facts}); without that '
            f'limit {planned.value}',
        )
    )


def measure(config, folder: str) -> tuple[float, float]:
    """Return the seconds of an iteration, and of testing an image."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    class Clock(Hook):
        """Note when iterations end."""

        times: list[float] = []

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            outputs['loss'].item()  # waits for a GPU
            self.times.append(time.time())

    config = deepcopy(config)
    test_loader = config.val_dataloader
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.work_dir = folder
    config.train_cfg.max_iters = MEASURED
    config.default_hooks.checkpoint = None
    config.visualizer.name = 'measure'
    clock = Clock()
    with log_file(Path(folder)) as log, contextlib.redirect_stdout(log):
        runner = Runner.from_cfg(config)
        runner.register_hook(clock)
        runner.train()
        image = measure_test(runner, test_loader)
    times = clock.times[SKIPPED - 1 :]
    return (times[-1] - times[0]) / (len(times) - 1), image


def measure_test(runner, loader: dict) -> float:
    """Return the seconds that testing an image takes."""
    import torch
    from mmengine.runner import Runner

    data = Runner.build_dataloader(
        dict(loader, num_workers=0, persistent_workers=False)
    )
    runner.model.eval()
    times = []
    for batch, _ in zip(data, range(MEASURED_IMAGES), strict=False):
        start = time.time()
        with torch.no_grad():
            runner.model.test_step(batch)
        times.append(time.time() - start)
    return min(times)


def minutes(text: str) -> float:
    """Return an argument that has to be a number of minutes above 0."""
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(
            f'expected a number of minutes above 0, got {text!r}'
        )
    return value
