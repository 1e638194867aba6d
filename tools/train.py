"""Train a model, on a config or on a folder of data.

With a folder a config for it is written first, as by `oneformer init`; then
the data is checked, the model trained and tested, and a sheet of images
drawn. The same command continues where it was interrupted.

Example: python tools/train.py configs/oneformer_swin-t_coco.py --amp
         oneformer train my_data --minutes 30
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from _cli import (
    add_run_options,
    build_runner,
    finish,
    load_config,
    one_line_errors,
    program,
    set_work_dir,
)
from _own_training import minutes, run_on_data
from _precision import choose_precision
from init import add_data_options


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, or folder of data')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='train in mixed precision on a GPU, by default in bfloat16; '
        'overrides the config',
    )
    precision.add_argument(
        '--no-amp',
        action='store_true',
        help='train in float32; overrides the config',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the number of images per iteration',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, by default from the newest '
        'complete one in the work folder',
    )
    add_run_options(parser)
    own = parser.add_argument_group('with a folder of data')
    own.add_argument(
        '--minutes',
        type=minutes,
        help='shorten the training so that the whole command takes so many '
        'minutes; a few iterations are measured first',
    )
    add_data_options(own)
    args = parser.parse_args()
    check_group(parser, own, args)
    return args


def check_group(
    parser: argparse.ArgumentParser,
    group: argparse._ArgumentGroup,
    args: argparse.Namespace,
) -> None:
    """Refuse options that would have no effect."""
    args.data = Path(args.config) if os.path.isdir(args.config) else None
    given = [
        action.option_strings[0]
        for action in group._group_actions
        if getattr(args, action.dest) is not None
    ]
    if args.data is None and given:
        parser.error(
            f'{", ".join(given)} is for a folder of data, and {args.config} '
            'is none: change the config instead.'
        )
    if args.data is None:
        return
    if args.launcher != 'none' or args.auto_scale_lr:
        name = '--auto-scale-lr' if args.auto_scale_lr else '--launcher'
        parser.error(
            f'{name} needs a config: write one with `oneformer init '
            f'{args.config}`, and train on it.'
        )
    if args.resume:
        parser.error('With a folder of data training resumes by itself.')


def main() -> None:
    """Train."""
    args = parse_args()
    if args.data is not None:
        run_on_data(args)
        return
    config = load_config(args.config, args.cfg_options)
    choose_precision(config, args)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in config:
            sys.exit(
                '--auto-scale-lr needs auto_scale_lr = dict(base_batch_size='
                '...) in the config: the images per iteration that its '
                'learning rate is meant for.'
            )
        config.auto_scale_lr.enable = True
    set_work_dir(config, args)

    from projects.oneformer.engine import TrainingInterrupted
    from projects.oneformer.engine.work_dir import explained_disk_errors

    with explained_disk_errors():
        if args.resume:
            resume(config, args.resume)
        runner = build_runner(config, args)
        try:
            runner.train()
        except TrainingInterrupted as interruption:
            print_once(interruption, f'Continue with: {continuation()}')
            finish()
            sys.exit(128 + interruption.signal)
    finish()


def resume(config, checkpoint: str) -> None:
    """Set up a config to continue from a checkpoint, or from the newest."""
    from projects.oneformer.engine.work_dir import resume_from_newest

    if checkpoint == 'auto':
        print_once(*resume_from_newest(config))
    else:
        config.resume, config.load_from = True, checkpoint


def continuation() -> str:
    """Return the command that continues this training."""
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        return 'the same command and --resume'
    again = [] if sys.argv[-1] == '--resume' else ['--resume']
    return shlex.join([*program(), *sys.argv[1:], *again])


def print_once(*lines: object) -> None:
    """Print lines in the first of several processes."""
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0
    if int(rank) == 0:
        print(*lines, sep='\n', flush=True)


if __name__ == '__main__':
    with one_line_errors():
        main()
