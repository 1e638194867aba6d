"""List the shipped configs, show one, or copy it to change it.

A copy inherits from the installed package, so it may lie anywhere. To change
a few settings, inherit from the config instead of copying it: see
docs/configs.md.

Example: oneformer configs oneformer_swin-t_coco.py --copy mine.py
"""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _cli import find_project  # noqa: E402

# What a config writes before the names of its bases, which are relative.
BASES = re.compile(r'^_base_ = (\[.*?\]|[\'"].*?[\'"])$', re.DOTALL | re.M)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'name', nargs='?', help='config to show; without it all are listed'
    )
    parser.add_argument(
        '--copy',
        type=Path,
        metavar='FILE.py',
        help='copy the config to this new file',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='list as JSON: name, description and path of each',
    )
    args = parser.parse_args()
    if args.name is None and args.copy:
        parser.error('--copy needs the name of the config to copy.')
    if args.name and args.json:
        parser.error('--json lists all configs: leave the name out.')
    return args


def main() -> None:
    """List, show or copy."""
    args = parse_args()
    find_project()
    from oneformer import shipped_configs

    configs = shipped_configs()
    if args.name is None:
        rows = [
            describe(Path(configs.config_path(name)))
            for name in configs.config_names()
        ]
        print(json.dumps(rows, indent=1) if args.json else table(rows))
        return
    name = args.name if args.name.endswith('.py') else f'{args.name}.py'
    try:
        text = Path(configs.config_path(name)).read_text(encoding='utf-8')
        if args.copy is None:
            print(text, end='')
            return
        with args.copy.open('x', encoding='utf-8') as file:
            file.write(independent(text))
    except FileExistsError:
        sys.exit(f'{args.copy} exists: choose another name for the copy.')
    except OSError as error:
        sys.exit(str(error))
    print(f'{args.copy} is a copy of {name}.')


def describe(path: Path) -> dict[str, str]:
    """Return name, description and path of a config."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    first = (text or '').partition('\n')[0]
    return dict(name=path.name, description=first, path=str(path))


def table(rows: list[dict[str, str]]) -> str:
    """Return a line for each config."""
    width = max(len(row['name']) for row in rows)
    return '\n'.join(
        f'{row["name"]:<{width}}  {row["description"]}' for row in rows
    )


def independent(text: str) -> str:
    """Return a shipped config so that it finds its bases from anywhere."""

    def absolute(found: re.Match) -> str:
        bases = ast.literal_eval(found[1])
        names = [bases] if isinstance(bases, str) else bases
        lines = [
            f"    __import__('oneformer').config_path({name[2:]!r}),"
            for name in names  # ./NAME
        ]
        return '\n'.join(['_base_ = [', *lines, ']'])

    return BASES.sub(absolute, text, count=1)


if __name__ == '__main__':
    main()
