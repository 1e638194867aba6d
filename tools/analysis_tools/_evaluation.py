"""Give a metric the results of a model, or of a file of predictions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from _cli import add_run_options, build_runner
from _whole_run import test_progress

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric

PICKLES = ('.pkl', '.pickle')


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """Add what is evaluated, and the options of a test run."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'source',
        help='checkpoint, or predictions of tools/test.py --out (a pickle, '
        'which can run code: only of known origin)',
    )
    add_run_options(parser)


def evaluate(
    config,
    args: argparse.Namespace,
    metric: 'BaseMetric',
    tasks: Sequence[str],
) -> str:
    """Evaluate a metric.

    Args:
        config (Config): Of the test data, and of the model of a checkpoint.
        args (argparse.Namespace): Of :func:`add_evaluation_options`.
        metric (BaseMetric): Has the classes of the data afterwards.
        tasks (Sequence[str]): Tasks that a model solves.

    Returns:
        str: Folder for what is written, if none was asked for.
    """
    if args.source.endswith(PICKLES):
        _evaluate_predictions(config, args.source, metric)
        return args.work_dir or str(Path(args.source).parent)
    _evaluate_model(config, args, metric, tasks)
    return config.work_dir


def _evaluate_model(config, args, metric, tasks: Sequence[str]) -> None:
    from projects.oneformer.weights.inference_model import inference_model

    config.load_from = args.source
    config.model = inference_model(config.model)
    config.model.test_cfg = dict(
        config.model.get('test_cfg') or {}, tasks=list(tasks)
    )
    config.test_evaluator = []
    config.log_level = 'WARNING'  # not the whole config, in the terminal
    runner = build_runner(config, args)
    runner.register_hook(test_progress(sys.stdout), priority='LOWEST')
    runner.test_evaluator.metrics.append(metric)
    metric.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.test()


def _evaluate_predictions(config, path: str, metric) -> None:
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    from projects.oneformer.errors import InputError

    samples = read_predictions(path)
    init_default_scope(config.default_scope)
    metric.dataset_meta = DATASETS.build(
        config.test_dataloader.dataset
    ).metainfo
    try:
        metric.process({}, samples)
    except InputError as error:
        sys.exit(f'{path} cannot be evaluated. {error}')
    metric.evaluate(len(samples))


def read_predictions(path: str) -> list[dict]:
    """Return the samples of a file of predictions."""
    from mmengine.fileio import load

    if not Path(path).is_file():
        sys.exit(f'Predictions {path} do not exist.')
    try:
        samples = load(path)
    except Exception as error:  # a damaged pickle may raise anything
        sys.exit(
            f'Predictions {path} cannot be read ({type(error).__name__}: '
            f'{error}): write them again with tools/test.py --out.'
        )
    if not isinstance(samples, list) or not all(
        isinstance(sample, dict) and 'img_path' in sample for sample in samples
    ):
        sys.exit(
            f'{path} holds no predictions: expected a file that tools/test.py '
            '--out wrote. A checkpoint has to end otherwise, as in .pth.'
        )
    return samples
