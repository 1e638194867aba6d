"""Check a data set: every image, PNG and annotation, before training.

Takes a config, whose datasets are checked against its classes and its number
of queries, or a folder, which is searched for annotations. Exits with 1 if
there are errors. With --fix a corrected copy is written; the original is
never touched.

Example: python tools/misc/validate_dataset.py data/coco --fix data/coco_fixed
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _cli import find_project, one_line_errors, user_error_types  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'data', metavar='CONFIG_OR_FOLDER', help='data to check'
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit with 1 for warnings, too'
    )
    parser.add_argument(
        '--max-examples',
        type=int,
        default=5,
        metavar='N',
        help='findings to print of each kind (default: 5)',
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all findings here'
    )
    parser.add_argument(
        '--fix',
        type=Path,
        metavar='OUT_FOLDER',
        help='write a corrected copy of the data to this new folder',
    )
    parser.add_argument(
        '--things',
        nargs='+',
        default=[],
        metavar='NAME',
        help='the classes that are things, which --fix adds to a JSON '
        'without isthing',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=min(8, os.cpu_count() or 1),
        help='processes, 1 to 32 (default: one per core, at most 8)',
    )
    parser.add_argument(
        '--num-queries',
        type=int,
        help='for a folder: number of queries of the model to train',
    )
    parser.add_argument(
        '--num-classes',
        type=int,
        help='for a folder of semantic PNGs: number of classes',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args()


def main() -> None:
    """Check, report, and mend a copy."""
    args = parse_args()
    # Not before, as --help needs none of it.
    import dataset_validation as checks

    progress = sys.stderr.isatty()
    try:
        sets, remarks, root = find(args)
        report = checks.check_sets(sets, args.workers, progress)
        print(report.text(args.max_examples))
        for remark in remarks:
            print(f'Not checked: {remark}')
        if args.json:
            write(args.json, report.to_json())
            print(f'All findings are in {args.json}.')
        if args.fix:
            fix(sets, root, args, progress)
    except user_error_types() as error:
        sys.exit(f'error: {error}')
    sys.exit(report.exit_code(args.strict))


def find(args: argparse.Namespace) -> tuple[list, list[str], Path | None]:
    """Return the annotation sets, remarks, and the folder of the data."""
    import dataset_validation as checks

    path = Path(args.data)
    if path.is_dir():
        limits = dict(
            num_queries=args.num_queries, num_classes=args.num_classes
        )
        return checks.find_sets(path, **limits), [], path
    if not path.is_file():
        from _package import errors

        raise errors.MissingFileError(
            f'{path} does not exist: name a config or a folder of data.'
        )
    find_project()  # a config may inherit by oneformer.config_path
    sets, remarks = checks.sets_of_config(
        str(path), config_options(args.cfg_options)
    )
    return sets, remarks, None


def config_options(options: list[str]) -> dict:
    """Return ``--cfg-options`` as mmengine reads them."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--options', *options]).options


def fix(
    sets: list, root: Path | None, args: argparse.Namespace, progress: bool
) -> None:
    """Write the copy, say what was done and what is left."""
    import dataset_validation as checks

    moved, notes = checks.write_fixed(
        sets, args.fix, root, args.things, args.workers, progress
    )
    print(f'\nThe copy in {args.fix} differs in {len(notes)} places:')
    for kind in dict.fromkeys(note.kind for note in notes):
        group = [note for note in notes if note.kind == kind]
        print(f'\nfixed {kind} ({len(group)})')
        for note in group[: args.max_examples]:
            print(f'    {note}')
        if len(group) > args.max_examples:
            print(f'    ... and {len(group) - args.max_examples} more')
    print('\nWhat is left in the copy:\n')
    left = checks.check_sets(moved, args.workers, progress)
    print(left.text(args.max_examples))
    if args.json:
        target = args.json.with_suffix('.fixed.json')
        write(target, checks.Report([], notes).to_json())
        print(f'All that was done is in {target}.')


def write(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        FileError: If it cannot be written.
    """
    from _package import errors

    with errors.user_errors():
        path.write_text(text)


if __name__ == '__main__':
    with one_line_errors():
        main()
