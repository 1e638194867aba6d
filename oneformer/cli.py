"""The command ``oneformer``: runs the scripts of ``tools/``.

A command is one script, with the same options whether it is run as
``oneformer train`` or as ``python tools/train.py``. Nothing but the standard
library is imported before the script is known.
"""

import difflib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import NamedTuple

from oneformer import ROOT

# Installed, the tools lie where OpenMMLab expects them; else in the checkout.
PLACES = (
    os.path.join(ROOT, 'projects', 'oneformer', '.mim', 'tools'),
    os.path.join(ROOT, 'tools'),
)


class Command(NamedTuple):
    """A script below ``tools/``, and what it is for."""

    script: str
    purpose: str


COMMANDS = dict(
    init=Command('init.py', 'write a config for a folder of data'),
    check=Command('misc/validate_dataset.py', 'find errors in a data set'),
    browse=Command(
        'analysis_tools/browse_dataset.py',
        'draw training samples with their targets',
    ),
    train=Command('train.py', 'train with a config, or on a folder of data'),
    test=Command('test.py', 'evaluate a model: PQ, AP and mIoU'),
    errors=Command(
        'analysis_tools/browse_errors.py',
        'show what a model gets wrong, in one HTML file',
    ),
    predict=Command('infer.py', 'segment images and videos'),
    serve=Command('serve.py', 'serve a web page that segments images'),
    export=Command('export.py', 'write a model as ONNX files'),
    convert=Command(
        'model_converters/convert_checkpoint.py',
        'convert a checkpoint for other programs',
    ),
    save=Command(
        'model_converters/save_pretrained.py',
        'save a trained model as a folder to share',
    ),
    configs=Command('misc/configs.py', 'list, show or copy shipped configs'),
    draw=Command('misc/make_demo_data.py', 'draw a small data set for tests'),
    demo=Command('demo.py', 'train, test and draw a tiny model in minutes'),
)
DOCTOR = 'doctor'
COMPLETION = 'completion'
# Those that are no script.
OTHERS = {
    DOCTOR: 'report what is installed and what will run',
    COMPLETION: 'print a completion script for bash, zsh or fish',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Args:
        arguments (Sequence[str], optional): By default those of the process.

    Returns:
        int: The exit status, where the script does not end the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    name, *rest = given or ['--help']
    if name in ('-h', '--help'):
        print(usage())
        return 0
    if name == '--version':
        print(f'oneformer {version()}')
        return 0
    if name == DOCTOR:
        return doctor(rest)
    if name == COMPLETION:
        from oneformer.completion import main as complete

        return complete(rest)
    if name not in COMMANDS:
        return fail(name)
    try:
        run(name, rest)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `oneformer configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def usage() -> str:
    """Return the help of the command."""
    purposes = {name: c.purpose for name, c in COMMANDS.items()} | OTHERS
    lines = [f'  {name:<11} {purpose}' for name, purpose in purposes.items()]
    return '\n'.join(
        [
            'usage: oneformer COMMAND ...',
            '',
            'OneFormer: one model, trained once, for panoptic, instance and '
            'semantic segmentation.',
            '',
            'commands:',
            *lines,
            '',
            'options:',
            '  -h, --help  show this message; of a command: oneformer COMMAND '
            '--help',
            '  --version   show the version',
            '',
            'Example: oneformer train my_data',
        ]
    )


def version() -> str:
    """Return the version of the package."""
    path = os.path.join(ROOT, 'projects', 'oneformer', 'version.py')
    module = ModuleType('version')
    SourceFileLoader('version', path).exec_module(module)
    return module.__version__


def fail(name: str) -> int:
    """Report a command that does not exist."""
    known = [*COMMANDS, *OTHERS]
    close = difflib.get_close_matches(name, known, n=1)
    hint = (
        f'did you mean {close[0]!r}?'
        if close
        else f'the commands are {", ".join(known)}.'
    )
    print(f'oneformer: no command {name!r}: {hint}', file=sys.stderr)
    return 2


def script_path(name: str) -> str:
    """Return the script of a command.

    Raises:
        FileNotFoundError: If the package is not complete.
    """
    paths = [os.path.join(place, COMMANDS[name].script) for place in PLACES]
    for path in paths:
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(
        f'The script of `oneformer {name}` is not in {" or ".join(paths)}: '
        'install the package again.'
    )


def run(name: str, arguments: Sequence[str]) -> None:
    """Run the script of a command as Python would, under its own name.

    argparse takes ``prog`` from ``sys.argv[0]``, so that help and errors name
    the command.
    """
    path = script_path(name)
    sys.argv = [f'oneformer {name}', *arguments]
    sys.path.insert(0, os.path.dirname(path))
    sys.path.insert(1, str(ROOT))
    # Not by runpy.run_path, which puts the path into sys.argv.
    loader = SourceFileLoader('__main__', path)
    script = ModuleType('__main__')
    script.__file__ = path
    # Where processes are spawned, they find its functions by this module.
    sys.modules['__main__'] = script
    loader.exec_module(script)


def doctor(arguments: Sequence[str]) -> int:
    """Report on the installation, also on a broken one."""
    sys.path.insert(0, str(ROOT))
    # Under this name the package is imported without its models, which a
    # broken installation could not import.
    sys.argv = ['-m', DOCTOR]
    from projects.oneformer.__main__ import main as report

    sys.argv = ['oneformer', DOCTOR, *arguments]
    return report(prog='oneformer')
