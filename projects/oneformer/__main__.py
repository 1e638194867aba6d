"""``python -m projects.oneformer``: commands about the installation."""

import argparse
import sys

from .doctor import report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='python -m projects.oneformer',
        description='OneFormer for OpenMMLab: one model for panoptic, '
        'instance and semantic segmentation.',
        epilog='To train, test and segment images, see tools/ and README.md.',
    )
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    commands.add_parser(
        'doctor',
        help='check the installation: what will run, what is missing, and '
        'the command against it',
    )
    if parser.parse_args().command is None:
        parser.print_help()
        return 0
    return report()


if __name__ == '__main__':
    sys.exit(main())
