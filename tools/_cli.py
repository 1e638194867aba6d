"""Options and set-up that the command-line tools share."""

import argparse
import contextlib
import os
import os.path as osp
import sys
from collections.abc import Iterator

from _processes import join_processes

# As in projects.oneformer.tasks, whose import would delay --help by seconds.
TASKS = ('panoptic', 'instance', 'semantic')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of OpenMMLab's tools that training and test share."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher of a distributed run',
    )
    # torch.distributed.launch passes it; torchrun sets the variable instead.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_ConfigOptions,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, for example '
        'train_dataloader.batch_size=4 or key="[a,b]"',
    )


def find_project() -> None:
    """Let the tools of a checkout find its modules without installation."""
    root = osp.dirname(osp.dirname(osp.abspath(__file__)))
    if osp.isdir(osp.join(root, 'projects', 'oneformer')):
        sys.path.insert(0, root)


def load_config(path: str, overrides: dict):
    """Read a config, apply ``--cfg-options`` and register the project."""
    find_project()
    from mmengine.config import Config

    if not osp.isfile(path):
        sys.exit(
            f'Config {path} does not exist. The configs are in configs/, for '
            'example configs/oneformer_swin-l_coco.py.'
        )
    config = Config.fromfile(path)
    config.merge_from_dict(overrides)
    return config


def build_runner(config, args: argparse.Namespace):
    """Build the runner of a config for the arguments of a tool."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        config.work_dir = osp.join('work_dirs', name)
    join_processes(config, args.launcher)
    if 'runner_type' in config:
        return RUNNERS.build(config)
    return Runner.from_cfg(config)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End with the message alone where a checkpoint cannot be used."""
    from projects.oneformer.weights import CheckpointError

    try:
        yield
    except CheckpointError as error:
        sys.exit(str(error))


def finish() -> None:
    """Let the processes of a distributed run end together."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        # A process that ends earlier would abort those that still exchange.
        dist.barrier()
        dist.destroy_process_group()


class _ConfigOptions(argparse.Action):
    """Options as mmengine parses them; imported only if there are any."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        from mmengine.config import DictAction

        read = DictAction(self.option_strings, self.dest)
        read(parser, namespace, values, option_string)
