"""Convert a checkpoint between this package, the reference and transformers.

No conversion is needed to use one: configs (load_from), tools and the
inferencer take a file or folder of any layout. This tool is for other
programs, and for files that hold more than weights.

Examples:
  convert_checkpoint.py 250_16_swin_l_oneformer_ade20k_160k.pth ours.pth
  convert_checkpoint.py work_dirs/run/iter_160000.pth out.pth --to reference
  convert_checkpoint.py iter_160000.pth folder --to transformers \\
      --config configs/oneformer_swin-l_ade20k.py
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from _cli import (
    add_config_options,
    find_project,
    load_config,
    one_line_errors,
)

LAYOUTS = ('ours', 'reference', 'transformers')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'source', type=Path, help='checkpoint: a file, or a folder'
    )
    parser.add_argument(
        'target',
        type=Path,
        help='file to write (.pth, .safetensors), or a folder for '
        'transformers; must not exist',
    )
    parser.add_argument(
        '--to', choices=LAYOUTS, default='ours', help='layout of the target'
    )
    parser.add_argument(
        '--config', help='config of the model, needed for transformers'
    )
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='allow the file to run code when it is read: only for files '
        'whose origin you trust',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    if args.to == 'transformers' and not args.config:
        sys.exit('--to transformers needs --config, the config of the model.')
    if args.target.exists():
        sys.exit(f'{args.target} exists: remove it or name another.')
    if args.to != 'transformers' and args.target.suffix not in (
        '.pth',
        '.safetensors',
    ):
        sys.exit(f'{args.target} must end in .pth or .safetensors.')
    config = None
    if args.config:
        config = load_config(args.config, args.cfg_options)
    convert(args, config)


def convert(args: argparse.Namespace, config) -> None:
    """Read the source and write the target."""
    find_project()
    import projects.oneformer  # noqa: F401
    from projects.oneformer.weights import layout_of, to_native
    from projects.oneformer.weights.huggingface_folder import (
        save_huggingface_folder,
    )
    from projects.oneformer.weights.reader import read_checkpoint
    from projects.oneformer.weights.reference import to_reference

    content = read_checkpoint(args.source, 'cpu', args.trust_pickle)
    weights = content.get('state_dict', content)
    layout = layout_of(weights)
    ours = to_native(weights)
    if args.to == 'transformers':
        save_huggingface_folder(config, ours, args.target)
    elif args.to == 'reference':
        theirs = to_reference(ours)
        write(theirs, dict(model=theirs), args.target)
    else:
        classes = weights._metadata['']['classes']
        if config is not None:
            classes = config.model.metainfo.classes
        meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
        write(ours, dict(meta=meta, state_dict=ours), args.target)
    print(f'{args.source} ({layout} layout, {len(ours)} entries of ours)')
    print(f'-> {args.target} ({args.to})')


def write(weights: dict, content: dict, target: Path) -> None:
    """Write weights alone or with what belongs to them, by the suffix."""
    import torch
    from safetensors.torch import save_file

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'.{target.name}.partial')
    try:
        if target.suffix == '.safetensors':
            save_file(
                {name: value.contiguous() for name, value in weights.items()},
                partial,
                metadata=dict(format='pt'),
            )
        else:
            torch.save(content, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == '__main__':
    with one_line_errors():
        main()
