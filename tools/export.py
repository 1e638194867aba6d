"""Export a model to ONNX, for use without torch, and check it.

Two files are written into a folder: image_encoder.onnx, which runs once for
an image, and task_decoder.onnx, which takes the task as an input. They are
compared with PyTorch first, and appear whole or not at all.

Example: python tools/export.py configs/oneformer_swin-t_coco.py model.pth \\
             --out exported
"""

import argparse

from _cli import (
    add_config_options,
    load_config,
    one_line_errors,
    positive,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('weights', help='checkpoint file')
    parser.add_argument(
        '--out',
        required=True,
        metavar='FOLDER_OR_FILE',
        help='where to write; earlier files are replaced',
    )
    parser.add_argument(
        '--format',
        choices=['onnx'],
        default='onnx',
        help='format of the files; OpenVINO reads ONNX, too (default: onnx)',
    )
    parser.add_argument(
        '--single-file',
        action='store_true',
        help='write one file instead of two; further calls for the same image '
        'then cost as much as the first',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=positive,
        metavar=('HEIGHT', 'WIDTH'),
        help='fix the size of the network input, in multiples of 32 (EoMT: '
        '16); needed for DiNAT; by default any size',
    )
    parser.add_argument(
        '--category-file',
        metavar='JSON',
        help='annotations in the COCO layout; results get the category ids '
        'in them',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Export, and say how far the files are from PyTorch."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)

    from projects.oneformer.export import export_onnx
    from projects.oneformer.export.onnx_files import (
        MOST,
        OUTLIER_TOLERANCE,
        TOLERANCE,
    )
    from projects.oneformer.inferencer import OneFormerInferencer

    inferencer = OneFormerInferencer(
        config, args.weights, 'cpu', category_file=args.category_file
    )
    config.model.metainfo = inferencer.dataset_meta
    size = None if args.size is None else tuple(args.size)
    deviations = export_onnx(
        config, inferencer.model, args.out, args.single_file, size
    )
    print('backend      input      output         largest difference')
    for found in deviations:
        height, width = found.size
        print(
            f'{found.backend:12} {f"{height} x {width}":10} '
            f'{found.output:14} {found.largest:.1e}, {found.relative:.1e} of '
            'the largest value'
        )
    print(
        f'At most {TOLERANCE:.0e} of the largest value is accepted in '
        f'{MOST:.0%} of the values, and {OUTLIER_TOLERANCE:.0e} in all.'
    )
    print(f'Wrote {args.out}.')


if __name__ == '__main__':
    with one_line_errors():
        main()
