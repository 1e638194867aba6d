"""Options and set-up that the command-line tools share."""

import argparse
import contextlib
import os
import os.path as osp
import sys
from collections.abc import Iterator

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


def set_work_dir(config, args: argparse.Namespace) -> None:
    """Settle the folder for logs and checkpoints."""
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        config.work_dir = osp.join('work_dirs', name)


def build_runner(config, args: argparse.Namespace):
    """Build the runner of a config for the arguments of a tool."""
    import torch
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config.launcher = args.launcher
    set_work_dir(config, args)
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        # mmengine assumes a GPU per process.
        torch.distributed.init_process_group('gloo')
        config.env_cfg.dist_cfg = dict(backend='gloo')
        config.setdefault(
            'model_wrapper_cfg',
            dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                device_ids=None,
            ),
        )
    if 'runner_type' in config:
        return RUNNERS.build(config)
    return Runner.from_cfg(config)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End with the message alone where a file or folder cannot be used."""
    from projects.oneformer.engine import WorkDirError
    from projects.oneformer.weights import CheckpointError

    try:
        yield
    except (CheckpointError, WorkDirError) as error:
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
