"""Measure all metrics with each task token.

Prints PQ, AP and mIoU by task token. The three results of a row are all made
from the queries of its token. A star marks the numbers to quote, those
measured with the token of the metric. Backbone and pixel decoder run once.

Example:
  task_dynamics.py configs/oneformer_swin-t_coco.py model.pth
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from _cli import (
    add_run_options,
    build_runner,
    finish,
    load_config,
    one_line_errors,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', metavar='FILE.json', help='also write all metrics there'
    )
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    if args.out and not args.out.endswith('.json'):
        sys.exit(f'--out {args.out} must end in .json.')
    config = load_config(args.config, args.cfg_options)
    from mmengine.dist import is_main_process
    from mmengine.logging import print_log

    from projects.oneformer.file_writing import write_json
    from projects.oneformer.inferencer import inference_model

    config.load_from = args.checkpoint
    config.model = inference_model(config.model)
    runner = build_runner(config, args)
    metrics = evaluate_tokens(runner)
    print_log(dynamics_table(metrics), logger='current')
    if args.out and is_main_process():
        write_json(args.out, metrics)
    finish()


def evaluate_tokens(runner) -> dict[str, dict[str, float]]:
    """Return all metrics of the test set, for each task token.

    Args:
        runner (Runner): Of a config with test set and evaluator; results are
            those of ``test_cfg.tasks``.

    Returns:
        dict[str, dict[str, float]]: Task token to metrics.
    """
    import torch
    from mmengine.model import is_model_wrapper
    from mmengine.runner.amp import autocast

    from projects.oneformer.tasks import TASKS

    runner.call_hook('before_run')
    runner.load_or_resume()
    loop = runner.test_loop
    model = runner.model
    model = (model.module if is_model_wrapper(model) else model).eval()
    evaluators = {}
    for token in TASKS:
        evaluators[token] = runner.build_evaluator(runner.cfg.test_evaluator)
        evaluators[token].dataset_meta = loop.dataloader.dataset.metainfo
    for number, data in enumerate(loop.dataloader, 1):
        with torch.no_grad(), autocast(enabled=loop.fp16):
            for token, samples in results_by_token(model, data):
                # Before the next token replaces the results.
                evaluators[token].process(samples, data)
        if number % 50 == 0:
            runner.logger.info(f'{number} of {len(loop.dataloader)} batches')
    size = len(loop.dataloader.dataset)
    return {
        token: {
            name: float(value)
            for name, value in evaluator.evaluate(size).items()
        }
        for token, evaluator in evaluators.items()
    }


def results_by_token(model, data: dict):
    """Segment a batch with each task token in turn.

    Args:
        model (OneFormer): The model; results are those of its tasks.
        data (dict): A batch of the data loader.

    Yields:
        tuple[str, list]: The token, and the samples of the batch with the
        results made with it. They are the same samples each time.
    """
    from projects.oneformer.tasks import TASKS

    data = model.data_preprocessor(data, False)
    pixels = model.pixel_features(data['inputs'])
    for token in TASKS:
        model.segment(
            pixels, data['data_samples'], [token], results=model.tasks
        )
        yield token, data['data_samples']


def dynamics_table(metrics: dict[str, dict[str, float]]) -> str:
    """Return the table: one row per token, a star where it is the metric's.

    Args:
        metrics (dict[str, dict[str, float]]): Task token to metrics, in
            percent but for AP, which is a fraction.
    """
    from terminaltables import AsciiTable

    from projects.oneformer.engine.task_table_hook import COLUMNS

    measured = [
        column
        for column in COLUMNS
        if any(column[1] in own for own in metrics.values())
    ]
    rows = [['task token', *(name for name, _, _ in measured)]]
    for token, own in metrics.items():
        row = [token]
        for name, key, task in measured:
            value = own[key] * (100 if name == 'AP' else 1)
            text = f'{value:.1f}' if value >= 0 else '-'
            row.append(text + ('*' if task == token else ''))
        rows.append(row)
    table = AsciiTable(rows).table
    return f'\n{table}\n* measured with the token of the metric (in percent)'


if __name__ == '__main__':
    with one_line_errors():
        main()
