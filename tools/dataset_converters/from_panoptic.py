"""Derive COCO instances or semantic PNGs from panoptic annotations.

    python tools/dataset_converters/from_panoptic.py \\
        my_data/annotations/panoptic_val.json \\
        my_data/annotations/panoptic_val \\
        --instances my_data/annotations/instances_val.json \\
        --semantic my_data/annotations/semantic_val

Instances are the things, as run lengths. A semantic PNG stores the index of
a category in the panoptic JSON, from 0, and 255 for void.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _common import Run, add_run_options, run_command  # noqa: E402
from _panoptic import make_instances, make_semantic, read_panoptic  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Derive COCO instances or semantic PNGs from panoptic '
        'annotations in the COCO layout.',
        epilog='Example: python tools/dataset_converters/from_panoptic.py '
        'annotations/panoptic_val.json annotations/panoptic_val '
        '--instances annotations/instances_val.json',
    )
    parser.add_argument('json', type=Path, help='panoptic JSON')
    parser.add_argument('pngs', type=Path, help='folder of panoptic PNGs')
    parser.add_argument(
        '--instances', type=Path, metavar='JSON', help='file to make'
    )
    parser.add_argument(
        '--semantic', type=Path, metavar='FOLDER', help='folder to make'
    )
    add_run_options(parser)
    args = parser.parse_args()
    if args.instances is None and args.semantic is None:
        parser.error('nothing to make: give --instances or --semantic')
    run = Run(args.workers, args.overwrite)
    content = read_panoptic(args.json)
    if args.instances is not None:
        args.instances.parent.mkdir(parents=True, exist_ok=True)
        make_instances('instances', content, args.pngs, args.instances, 1, run)
    if args.semantic is not None:
        make_semantic('semantic', content, args.pngs, args.semantic, run=run)


if __name__ == '__main__':
    run_command(main)
