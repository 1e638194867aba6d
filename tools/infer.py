"""Segment images: one drawing per image and task, one JSON of segments.

Example: python tools/infer.py configs/oneformer_swin-l_coco.py photos/ \\
             --weights model.pth --task panoptic instance --out-dir out
"""

import argparse
import json
import os
import sys
from pathlib import Path

from _cli import (
    TASKS,
    add_config_options,
    device,
    load_config,
    not_negative,
    one_line_errors,
    positive,
    score,
)

EXTENSIONS = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE_OR_FOLDER', help='images'
    )
    parser.add_argument('--weights', required=True, help='checkpoint file')
    parser.add_argument(
        '--task',
        nargs='+',
        choices=TASKS,
        default=list(TASKS),
        help='tasks to solve; an image goes through the backbone once',
    )
    parser.add_argument(
        '--out-dir', type=Path, default=Path('outputs'), help='result folder'
    )
    parser.add_argument(
        '--device',
        type=device,
        help='cpu, cuda, cuda:1, ...; by default a GPU if present',
    )
    parser.add_argument(
        '--batch-size', type=positive, default=1, help='images at a time'
    )
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='leave out instances with a lower score',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='run the model through torch.compile, for many images of few '
        'sizes',
    )
    parser.add_argument(
        '--tile',
        type=positive,
        metavar='SIZE',
        help='cut large images into tiles of this height and width',
    )
    parser.add_argument(
        '--overlap',
        type=not_negative,
        metavar='PIXELS',
        help='overlap of neighbouring tiles, by default a quarter of a tile',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Segment the images."""
    args = parse_args()
    paths = list_images(args.images)
    config = load_config(args.config, args.cfg_options)

    import mmcv

    from projects.oneformer.inferencer import OneFormerInferencer, describe
    from projects.oneformer.visualization import draw_result

    try:
        inferencer = OneFormerInferencer(
            config,
            args.weights,
            args.device,
            compile=args.compile,
            tile=args.tile,
            overlap=args.overlap,
            tile_score_thr=args.score_thr,
        )
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    meta = inferencer.dataset_meta
    records = []
    results = inferencer(paths.values(), args.task, args.batch_size)
    failure = None
    for name, path in paths.items():
        try:
            sample = next(results)
        except (OSError, ValueError) as error:
            failure = error  # the results so far are written nonetheless
            break
        height, width = sample.ori_shape
        record = dict(file=str(path), height=height, width=width)
        # Read as the model does, with the rotation in the file's EXIF.
        image = mmcv.imread(path, channel_order='rgb', backend='pillow')
        for task in args.task:
            drawing = draw_result(image, sample, task, meta, args.score_thr)
            target = args.out_dir / f'{name}_{task}.png'
            mmcv.imwrite(drawing[..., ::-1], str(target))
            record[task] = describe(sample, task, meta, args.score_thr)
        records.append(record)
        print(f'{path}: {", ".join(args.task)}')
    target = args.out_dir / 'segments.json'
    content = dict(classes=list(meta['classes']), images=records)
    partial = target.with_suffix('.partial')
    partial.write_text(json.dumps(content))
    os.replace(partial, target)
    print(f'Wrote {len(records) * len(args.task)} drawings and {target}.')
    if failure:
        sys.exit(f'Stopped: {failure}')


def list_images(arguments: list[str]) -> dict[str, Path]:
    """Return the images of files and folders, by name of the result."""
    paths = []
    for path in map(Path, arguments):
        if path.is_dir():
            found = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in EXTENSIONS
            )
            if not found:
                sys.exit(f'{path} has no image ({sorted(EXTENSIONS)}).')
            paths += found
        elif path.is_file():
            paths.append(path)
        else:
            sys.exit(f'{path} does not exist.')
    images = {}
    for path in paths:
        name, number = path.stem, 2
        while name in images:  # of several folders, with the same name
            name, number = f'{path.stem}_{number}', number + 1
        images[name] = path
    return images


if __name__ == '__main__':
    with one_line_errors():
        main()
