"""Complete a DINOv3 file of EoMT by the weights of DINOv3.

The files that tue-mps publishes hold what training changed of DINOv3, and
the rest of EoMT. The weights of DINOv3 themselves are under a licence that
you accept where you download them, from Meta or, for timm, from the Hub.

Example:
  add_dinov3.py eomt/pytorch_model.bin dinov3_vits16_pretrain.pth eomt.pth
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from _cli import find_project, one_line_errors
from convert_checkpoint import write


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path, help='file or folder of EoMT')
    parser.add_argument(
        'dinov3', type=Path, help='weights of DINOv3: a file, or a folder'
    )
    parser.add_argument(
        'target',
        type=Path,
        help='file to write (.pth, .safetensors); must not exist',
    )
    return parser.parse_args()


def main() -> None:
    """Add the weights."""
    args = parse_args()
    if args.target.exists():
        sys.exit(f'{args.target} exists: remove it or name another.')
    if args.target.suffix not in ('.pth', '.safetensors'):
        sys.exit(f'{args.target} must end in .pth or .safetensors.')
    find_project()
    import projects.oneformer  # noqa: F401
    from projects.oneformer.weights.eomt import add_differences
    from projects.oneformer.weights.initial import unwrap
    from projects.oneformer.weights.reader import read_checkpoint
    from projects.oneformer.weights.vit import to_whole_vit

    content = read_checkpoint(args.source, 'cpu')
    base = unwrap(read_checkpoint(args.dinov3, 'cpu'))
    weights = add_differences(
        content.get('state_dict', content),
        to_whole_vit(base, str(args.dinov3)),
    )
    write(weights, dict(state_dict=weights), args.target)
    print(f'{args.source} + {args.dinov3}')
    print(f'-> {args.target} ({len(weights)} entries)')


if __name__ == '__main__':
    with one_line_errors():
        main()
