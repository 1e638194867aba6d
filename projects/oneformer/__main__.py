"""``python -m projects.oneformer``: report, or run a script of mmdet."""

import argparse
import runpy
import sys

from .doctor import report, report_json


def main(prog: str = 'python -m projects.oneformer') -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description='OneFormer for OpenMMLab: one model for panoptic, '
        'instance and semantic segmentation.',
        epilog='To train, test and segment images, see tools/ and README.md.',
    )
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    check = commands.add_parser(
        'doctor',
        help='check the installation: what will run, what is missing, and '
        'the command against it',
    )
    check.add_argument(
        '--json', action='store_true', help='print the report as JSON'
    )
    script = commands.add_parser(
        'run',
        help='run a script of mmdet, such as its tools/test.py, also where '
        'mmcv is installed without compiled operators',
    )
    script.add_argument('script', help='Python file')
    script.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='of the script'
    )
    args = parser.parse_args()
    if args.command is None:
        parser.print_help()
        return 0
    if args.command == 'doctor':
        return report_json() if args.json else report()
    # The package, already imported, stands in for the operators.
    sys.argv = [args.script, *args.arguments]
    runpy.run_path(args.script, run_name='__main__')
    return 0


if __name__ == '__main__':
    sys.exit(main())
