"""Options and set-up that the command-line tools share."""

import argparse
import contextlib
import errno
import os
import os.path as osp
import re
import sys
import traceback
from collections.abc import Iterator

from _overrides import LOADERS, check_overrides
from _processes import join_processes

# As in projects.oneformer.tasks, whose import would delay --help by seconds.
TASKS = ('panoptic', 'instance', 'semantic')
# What constructors raise at an option that they do not accept.
BUILD_ERRORS = (
    AssertionError,
    ImportError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)
# What a disk or a path refuses: no fault of ours, and the system says what it
# is.
DISK_ERRORS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    }
)


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


def positive(text: str) -> int:
    """Return an argument that has to be a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'expected a whole number of 1 or more, got {text!r}'
        )
    return int(text)


def not_negative(text: str) -> int:
    """Return an argument that has to be a whole number of 0 or more."""
    return 0 if text == '0' else positive(text)


def score(text: str) -> float:
    """Return an argument that has to be a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f'expected a number from 0 to 1, got {text!r}'
        )
    return value


def device(text: str) -> str:
    """Return an argument that has to name a device of this machine."""
    import torch

    try:
        kind, index = torch.device(text).type, torch.device(text).index or 0
    except RuntimeError:
        kind, index = '', 0
    if kind == 'cuda' and index >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(
            f'PyTorch finds {torch.cuda.device_count()} GPUs, got {text!r}'
        )
    if kind not in ('cpu', 'cuda'):
        raise argparse.ArgumentTypeError(
            f"expected 'cpu', 'cuda' or 'cuda:N', got {text!r}"
        )
    return text


def program() -> list[str]:
    """Return the words that run this tool, as in ``oneformer train``."""
    script = sys.argv[0]
    if script.endswith('.py'):
        return ['python', script]
    module = sys.orig_argv[1:3] == ['-m', 'oneformer']  # not installed
    return [*(['python', '-m'] if module else []), *script.split()]


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
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a program, which may raise anything
        if isinstance(error.__cause__, ImportError):
            error = error.__cause__  # our own, of custom_imports
        if not isinstance(error, ImportError) and _raised_by_us(error):
            raise
        sys.exit(f'Config {path} cannot be read: {_one_line(error)}')
    override(config, overrides)
    return config


def set_work_dir(config, args: argparse.Namespace) -> None:
    """Settle the folder for logs and checkpoints."""
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        config.work_dir = osp.join('work_dirs', name)


def override(config, overrides: dict) -> None:
    """Apply ``--cfg-options``, all of which must have an effect."""
    check_overrides(config.to_dict(), overrides)
    config.merge_from_dict(overrides)


def check_numbers(config) -> None:
    """Refuse numbers that mmengine or PyTorch reject without their names."""
    least = {'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1}
    for name in LOADERS:
        least |= {f'{name}.batch_size': 1, f'{name}.num_workers': 0}
    for key, lowest in least.items():
        part, _, option = key.partition('.')
        value = (config.get(part) or {}).get(option, lowest)
        if type(value) is not int or value < lowest:
            sys.exit(
                f'Expected {key} to be a whole number of {lowest} or more, '
                f'got {value!r}.'
            )
    for name in LOADERS:
        loader = config.get(name) or {}
        if loader.get('persistent_workers') and not loader.get('num_workers'):
            sys.exit(
                f'{name} has persistent_workers=True and num_workers=0: set '
                f'{name}.persistent_workers=False, too.'
            )


def build_runner(config, args: argparse.Namespace):
    """Build the runner of a config for the arguments of a tool."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    check_numbers(config)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    set_work_dir(config, args)
    join_processes(config, args.launcher)
    if 'runner_type' in config:
        return RUNNERS.build(config)
    return Runner.from_cfg(config)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End with the message alone where a user can correct an error.

    These are the ``UserError`` of the package, what mmengine, mmdet and
    PyTorch raise while they build something from the config, and paths where
    nothing can be written. Any other exception is a fault of ours and keeps
    its traceback.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, user_error_types()):
            sys.exit(_one_line(error))
        if _is_of_config(error):
            sys.exit(f'The config cannot be used: {_one_line(error)}')
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            path = error.filename2 or error.filename or 'A file'
            sys.exit(
                f'{path} cannot be used: {error.strerror}. Choose another '
                'path, or check its permissions and the free space.'
            )
        raise


def user_error_types() -> tuple[type[Exception], ...]:
    """Return ``UserError``, of each way in which the package is loaded."""
    modules = ('projects.oneformer.errors', '_package.errors')
    return tuple(
        sys.modules[name].UserError for name in modules if name in sys.modules
    )


def _is_of_config(error: Exception) -> bool:
    """Whether an error was raised while mmengine built what a config says.

    Missing keys and assertions in our own code are faults of ours even then.
    """
    builder = sys.modules.get('mmengine.registry.build_functions')
    if builder is None or not isinstance(error, BUILD_ERRORS):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not any(frame.filename == builder.__file__ for frame in frames):
        return False
    return isinstance(error, (ImportError, OSError, ValueError)) or (
        not _raised_by_us(error)
    )


def _raised_by_us(error: BaseException) -> bool:
    """Whether the innermost frame of an error is in our package."""
    frames = traceback.extract_tb(error.__traceback__)
    package = sys.modules.get('projects.oneformer')
    return bool(
        frames
        and package
        and frames[-1].filename.startswith(osp.dirname(package.__file__))
    )


def _one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    # PyTorch repeats the traceback of a loader process in the message.
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    if 'Original Traceback' in text:
        text = re.split(r'\n[\w.]+(?:Error|Exception): ', text)[-1]
    text = ' '.join(text.split())
    ours = type(error).__module__.startswith('projects.oneformer')
    if ours or (
        isinstance(error, (OSError, ValueError)) and _raised_by_us(error)
    ):
        return text
    return f'{type(error).__name__}: {text}'


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
