"""Segment images: one drawing per image and task, one JSON of segments.

An image that cannot be read is reported, the others are segmented, and the
exit code is 1. Results are on disk as soon as an image is done.

Example: python tools/infer.py configs/oneformer_swin-l_coco.py photos/ \\
             --weights model.pth --task panoptic instance --out-dir out
"""

import argparse
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

MAX_NAMES = 20  # of failed images in the last line


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
        help='tasks to solve, by default test_cfg.tasks of the model; an '
        'image goes through the backbone once',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('outputs'),
        help='result folder; a second run adds to it, and replaces all '
        'results of an image of the same path (default: outputs)',
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
    if args.out_dir.resolve() in {Path(p).resolve() for p in args.images}:
        sys.exit(
            f'--out-dir {args.out_dir} is a folder of images, among which '
            'the drawings would be: choose another.'
        )
    config = load_config(args.config, args.cfg_options)

    from _results import ResultFolder

    from projects.oneformer.inferencer import OneFormerInferencer

    try:
        results = ResultFolder(args.out_dir, config.model.metainfo['classes'])
        inferencer = OneFormerInferencer(
            config,
            args.weights,
            args.device,
            compile=args.compile,
            tile=args.tile,
            overlap=args.overlap,
            tile_score_thr=args.score_thr,
        )
        tasks = args.task or list(inferencer.model.tasks)
        failed = segment(
            inferencer, paths, tasks, args.batch_size, args.score_thr, results
        )
    except (OSError, ValueError) as error:
        sys.exit(f'Stopped: {error}')
    number = len(paths) - len(failed)
    print(
        f'Wrote {number * len(tasks)} drawings of {number} images and '
        f'{results.target}.'
    )
    if failed:
        names = ', '.join(failed[:MAX_NAMES])
        if len(failed) > MAX_NAMES:
            names += f' and {len(failed) - MAX_NAMES} more, named above'
        sys.exit(f'{len(failed)} of {len(paths)} images failed: {names}')


def segment(
    inferencer, paths: list[Path], tasks, batch_size, score_thr, results
) -> list[str]:
    """Write the results of images, and return the names of those that fail.

    Args:
        inferencer (OneFormerInferencer): The model.
        paths (list[Path]): The images.
        tasks (list[str]): Tasks to solve for each image.
        batch_size (int): Images at a time.
        score_thr (float): Leave out instances with a lower score.
        results (ResultFolder): Where to; it is closed at the end, or if this
            stops before.
    """
    import numpy as np

    from projects.oneformer.images import ImageError, printable

    failed = []
    outcomes = inferencer(
        paths, tasks, batch_size, return_errors=True, score_thr=score_thr
    )
    try:
        for path, outcome in zip(paths, outcomes, strict=True):
            if isinstance(outcome, ImageError):
                print(outcome, file=sys.stderr, flush=True)
                failed.append(printable(path))
                continue
            record = dict(height=outcome.height, width=outcome.width)
            for task in tasks:
                record[task] = [
                    segment.to_dict() for segment in outcome.segments_of(task)
                ]
            drawings = {task: np.asarray(outcome.plot(task)) for task in tasks}
            results.add(path, record, drawings)
            print(f'{printable(path)}: {", ".join(tasks)}', flush=True)
    finally:
        results.close()
    return failed


def list_images(arguments: list[str]) -> list[Path]:
    """Return the images of files and folders, each once."""
    from _package import file_names

    paths = []
    for path in map(Path, arguments):
        if not path.exists():
            sys.exit(f'{path} does not exist.')
        if not path.is_dir():
            if file_names.is_video(str(path)):
                sys.exit(f'{path} is a video: expected images and folders.')
            paths.append(path)
            continue
        found = sorted(
            file
            for file in path.iterdir()
            if file_names.image_stem(file.name) is not None
            and not file.is_dir()
        )
        if not found:
            sys.exit(
                f'{path} has no image ({", ".join(file_names.IMAGE_SUFFIXES)}'
                ').'
            )
        paths += found
    return list(dict.fromkeys(paths))


if __name__ == '__main__':
    with one_line_errors():
        main()
