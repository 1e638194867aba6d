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
    finish,
    load_config,
    one_line_errors,
    positive,
    score,
)
from _evaluation import add_evaluation_options, evaluate  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_evaluation_options(parser)
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
    folder = evaluate(config, args, collector, tasks)
    if is_main_process():
        out = args.out or f'{folder}/errors.html'
        title = f'Errors of {Path(args.source).name}'
        classes = list(collector.dataset_meta['classes'])
        page = error_page(title, classes, collector.cards)
        write_file(out, page.encode())
        print(f'Written: {out}, {len(collector.cards)} images')
    finish()


if __name__ == '__main__':
    with one_line_errors():
        main()
