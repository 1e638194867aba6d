"""Look at a folder of data and write a config for it.

Classes, sizes and splits are read from the data; crop, test size, queries,
batch and schedule follow by rules. The reason for each is printed, and
stands in the config as a comment. Exports of CVAT, Label Studio, Roboflow,
LabelMe and VOC are recognised; what has to be converted goes to a folder
beside the config, and the data is never changed.

Example: oneformer init my_data --out my_config.py
"""

import argparse
import shlex
import sys
from pathlib import Path

from _cli import find_project, one_line_errors, program, user_error_types

BACKBONES = ('r18', 'effnet-lite0', 'r50', 'swin-t', 'swin-l', 'dinat-l')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', type=Path, help='folder of the data')
    add_data_options(parser)
    return parser.parse_args()


def add_data_options(parser: argparse._ActionsContainer) -> None:
    """Add the options of a config that is to be written."""
    parser.add_argument(
        '--out',
        type=Path,
        metavar='CONFIG.py',
        help='config to write; by default oneformer_DATA.py in this folder',
    )
    parser.add_argument(
        '--backbone',
        choices=BACKBONES,
        help='by default swin-t on a GPU, a small one on a CPU',
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='checkpoint to start from; must fit the backbone',
    )
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        help='device to plan for; by default a GPU if present',
    )
    parser.add_argument(
        '--kind',
        choices=['panoptic', 'instance', 'semantic'],
        help='kind of annotation to use if there are several; by default the '
        'one that supervises most tasks',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='for label maps: the classes of the values 0, 1, ...; by default '
        'those in classes.txt or a similar file',
    )
    parser.add_argument(
        '--things',
        nargs='+',
        metavar='NAME',
        help='the classes that are things, if the data does not specify them',
    )
    parser.add_argument(
        '--train',
        metavar='ANNOTATION',
        help='JSON, or folder of label maps, to train on, if its name does '
        'not say so',
    )
    parser.add_argument(
        '--val', metavar='ANNOTATION', help='the same for validation'
    )


def main() -> None:
    """Write the config."""
    args = parse_args()
    path = config_path(args)
    if path.exists():
        sys.exit(f'{path} exists: choose another name as --out, or remove it.')
    plan = make_plan(args, path)
    write(plan, path)
    print(report(plan))
    *words, script = program()
    train = shlex.join(
        [*words, str(Path(script).with_stem('train')), str(path)]
    )
    print(f'\nWrote {path}. Train with: {train}')


def config_path(args: argparse.Namespace) -> Path:
    """Return the path of the config, by default after the data.

    Raises:
        ValueError: If it does not end as a config does.
    """
    path = args.out or Path(f'oneformer_{args.data.resolve().name}.py')
    if path.suffix != '.py':
        sys.exit(f'--out {path} must end in .py, as configs do.')
    return path


def make_plan(args: argparse.Namespace, path: Path):
    """Return the plan for the arguments; foreign data is converted."""
    find_project()
    import own_data

    weights = args.weights or ''
    if weights and '://' not in weights and not Path(weights).exists():
        sys.exit(f'--weights {weights} does not exist.')
    wishes = own_data.Wishes(
        **{name: getattr(args, name) for name in own_data.Wishes._fields}
    )
    converted = path.resolve().with_name(f'{path.stem}_data')
    try:
        return own_data.make_plan(
            args.data, converted, own_data.find_machine(args.device), wishes
        )
    except user_error_types() as error:
        sys.exit(f'{args.data} cannot be used: {error}')


def report(plan) -> str:
    """Return what was found and chosen, with reasons."""
    from _package import images

    found = plan.measures
    lines = [
        f'{plan.folder}: {plan.layout}',
        f'  annotation  {plan.kind}',
        f'  images      {found.num_train} for training, {found.num_val} for '
        'validation',
        f'  classes     {len(plan.labels.classes)}, of which '
        f'{len(plan.labels.things)} things: {plan.labels.why}',
        f'  device      {plan.machine.name}',
    ]
    lines += [
        f'  {name.replace("_", " "):<20}{shown(choice.value)}: {choice.why}'
        for name, choice in plan.choices.items()
    ]
    return images.printable('\n'.join(lines))


def shown(value: object) -> str:
    """Return a value as the report shows it."""
    if isinstance(value, tuple):
        return ', '.join(map(str, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def write(plan, path: Path) -> None:
    """Write the config, whole or not at all."""
    from _annotations import replaced
    from own_data import config_text

    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(config_text(plan, path), encoding='utf-8')


if __name__ == '__main__':
    with one_line_errors():
        main()
