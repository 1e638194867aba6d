"""Train a model.

Example: python tools/train.py configs/oneformer_swin-t_coco.py --amp
"""

import argparse
import os
import shlex
import sys

from _cli import (
    add_run_options,
    build_runner,
    finish,
    load_config,
    one_line_errors,
    program,
    set_work_dir,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='train in mixed precision on a GPU, in bfloat16 if not said '
        'otherwise, whatever the config says',
    )
    precision.add_argument(
        '--no-amp',
        action='store_true',
        help='train in float32, whatever the config says',
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
        help='continue from this checkpoint, by default from the newest whole '
        'one in the work folder',
    )
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Train."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if args.amp:
        use_mixed_precision(config, args.amp)
    elif args.no_amp:
        use_float32(config)
    else:
        use_what_there_is(config)
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


def use_mixed_precision(config, dtype: str) -> None:
    """Set up mixed precision in a config."""
    import torch

    if not torch.cuda.is_available():
        sys.exit('--amp needs a GPU, and PyTorch finds none: leave it out.')
    config.optim_wrapper.type = 'AmpOptimWrapper'
    config.optim_wrapper.dtype = dtype
    # Only float16 can underflow.
    config.optim_wrapper.loss_scale = 'dynamic' if dtype == 'float16' else 1.0


def use_float32(config) -> None:
    """Undo the mixed precision of a config."""
    if config.optim_wrapper.type == 'AmpOptimWrapper':
        config.optim_wrapper.type = 'OptimWrapper'
        for option in ('dtype', 'loss_scale', 'use_fsdp'):
            config.optim_wrapper.pop(option, None)


def use_what_there_is(config) -> None:
    """Train in float32 where mixed precision is not to be had."""
    import torch

    wrapper = config.optim_wrapper
    if wrapper.type != 'AmpOptimWrapper' or torch.cuda.is_available():
        return
    print(
        f'The config asks for mixed precision ({wrapper.get("dtype")}), which '
        'needs a GPU, and PyTorch finds none: training in float32.',
        file=sys.stderr,
    )
    use_float32(config)


if __name__ == '__main__':
    with one_line_errors():
        main()
