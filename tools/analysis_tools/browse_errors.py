"""Show what a model gets wrong: one HTML file, the largest errors first.

The file shows images with ground truth, prediction and errors of each task,
and filters them by class, kind and size of the error. It needs no network and
no other file. Segments that are missed or extra cost 0.5, others 1 - IoU, as
in the panoptic quality.

Examples:
  browse_errors.py configs/oneformer_swin-t_coco.py model.pth
  browse_errors.py configs/oneformer_swin-t_coco.py predictions.pkl
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

HERE = osp.dirname(osp.abspath(__file__))
sys.path[:0] = [HERE, osp.dirname(HERE)]

from _cli import (  # noqa: E402
    TASKS,
    add_run_options,
    build_runner,
    finish,
    load_config,
    one_line_errors,
    positive,
    score,
)

PICKLES = ('.pkl', '.pickle')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'source', help='checkpoint, or predictions of tools/test.py --out'
    )
    parser.add_argument(
        '--out',
        metavar='FILE.html',
        help='file to write; by default errors.html in the work folder',
    )
    parser.add_argument(
        '--num',
        type=positive,
        default=50,
        help='images to show, those with the largest losses (default: 50)',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=TASKS,
        help='tasks to compare, the first of which orders the images; by '
        'default those that the config evaluates',
    )
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='leave out instances with a lower score (default: 0.3)',
    )
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Compare and write."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    from _error_collector import ErrorCollector
    from _error_page import error_page
    from mmengine.dist import is_main_process

    from projects.oneformer.file_writing import write_file
    from projects.oneformer.tasks import read_tasks

    tasks = args.tasks or read_tasks(
        (config.model.get('test_cfg') or {}).get('tasks', TASKS)
    )
    collector = ErrorCollector(tasks, args.num, args.score_thr)
    if args.source.endswith(PICKLES):
        read_predictions(config, args.source, collector)
        folder = args.work_dir or str(Path(args.source).parent)
    else:
        run_model(config, args, collector)
        folder = config.work_dir
    if is_main_process():
        out = args.out or f'{folder}/errors.html'
        title = f'Errors of {Path(args.source).name}'
        classes = list(collector.dataset_meta['classes'])
        page = error_page(title, classes, collector.cards)
        write_file(out, page.encode())
        print(f'Written: {out}, {len(collector.cards)} images')
    finish()


def run_model(config, args: argparse.Namespace, collector) -> None:
    """Test a model; the collector gets the results."""
    from projects.oneformer.inferencer import inference_model

    config.load_from = args.source
    config.model = inference_model(config.model)
    config.model.test_cfg = dict(
        config.model.get('test_cfg') or {}, tasks=list(collector.tasks)
    )
    config.test_evaluator = []
    runner = build_runner(config, args)
    runner.test_evaluator.metrics.append(collector)
    collector.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.test()


def read_predictions(config, path: str, collector) -> None:
    """Give saved predictions to the collector."""
    from mmdet.registry import DATASETS
    from mmengine.fileio import load
    from mmengine.registry import init_default_scope

    if not Path(path).is_file():
        sys.exit(f'Predictions {path} do not exist.')
    init_default_scope(config.default_scope)
    collector.dataset_meta = DATASETS.build(
        config.test_dataloader.dataset
    ).metainfo
    samples = load(path)
    try:
        collector.process({}, samples)
    except ValueError as error:
        sys.exit(f'{path} cannot be compared. {error}')
    collector.evaluate(len(samples))


if __name__ == '__main__':
    with one_line_errors():
        main()
