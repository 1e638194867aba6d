"""Segment images and videos; write drawings, JSON lines or COCO files.

An image that cannot be read is reported, the others are segmented, and the
exit code is 1. Results are on disk as soon as an image is done.

Example: python tools/infer.py configs/oneformer_swin-l_coco.py photos/ \\
             --weights model.pth --task panoptic instance --out-dir out
More:
  python tools/infer.py me/zoo list.txt --format jsonl --out-dir out --resume
  torchrun --nproc_per_node 8 tools/infer.py zoo/ photos/ \\
      --launcher pytorch --format coco-panoptic --out-dir out

The model is a config with --weights, or one name alone: a folder that
save_pretrained wrote, a model on the Hub, or a checkpoint of the reference.
A .txt lists images, one path or address per line. Each frame of a video is
segmented alone: objects are not tracked.
"""

import argparse
import dataclasses
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from _ahead import ahead
from _cli import (
    TASKS,
    add_config_options,
    device,
    find_project,
    load_config,
    not_negative,
    one_line_errors,
    positive,
    score,
)
from _processes import VARIABLES
from _sources import Item, Sources, frames
from _throughput import Progress

MAX_NAMES = 20  # of failed images in the last line
FORMATS = ('drawings', 'jsonl', 'coco-panoptic', 'coco-instances')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        metavar='MODEL',
        help='config file (with --weights), folder, checkpoint or name on '
        'the Hub',
    )
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGE_OR_FOLDER',
        help='images, folders of images, lists of paths (.txt) and videos',
    )
    parser.add_argument('--weights', help='checkpoint file for a config')
    parser.add_argument(
        '--task',
        nargs='+',
        choices=TASKS,
        help='tasks to solve, by default test_cfg.tasks of the model; the '
        'backbone runs once per image',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('outputs'),
        help='result folder; a second run with drawings adds to it, and '
        'replaces all results of images with the same path (default: '
        'outputs)',
    )
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default=FORMATS[0],
        help='drawings: a PNG for each image and task (of a video, an MP4) '
        'and segments.json. jsonl: a line for each image, in segments.jsonl. '
        'coco-panoptic: panoptic.json and PNGs in panoptic/. coco-instances: '
        'instances.json. All but drawings need the same memory for any '
        'number of images (default: drawings)',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='skip images that have results in --out-dir',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', *VARIABLES],
        default='none',
        help='divide the images among the processes of a launcher: each '
        'takes every n-th one',
    )
    parser.add_argument(
        '--device',
        type=device,
        help='cpu, cuda, cuda:1, ...; by default a GPU if present',
    )
    parser.add_argument(
        '--batch-size', type=positive, default=1, help='images per batch'
    )
    parser.add_argument(
        '--threads',
        type=positive,
        default=2,
        help='threads that read images while the model computes (default: 2)',
    )
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='drop instances with a lower score (default: 0.3)',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the model by torch.compile, which pays for many images '
        'of few sizes',
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
    rank, world_size, local_rank = place_of(args.launcher)
    sources = Sources(args.images, rank, world_size)
    if args.out_dir.resolve() in {Path(p).resolve() for p in args.images}:
        sys.exit(
            f'--out-dir {args.out_dir} is a folder of images, among which '
            'the drawings would be: choose another.'
        )
    inferencer = build(args, local_rank)

    from _outputs import TASK_OF_FORMAT, make_output

    tasks = args.task or list(inferencer.model.tasks)
    if args.format in TASK_OF_FORMAT:
        tasks = [TASK_OF_FORMAT[args.format]]
        if args.task and args.task != tasks:
            sys.exit(f'--format {args.format} is of --task {tasks[0]} alone.')
    output = make_output(
        args.format,
        args.out_dir,
        inferencer.dataset_meta,
        tasks,
        args.resume,
        rank,
        world_size,
        args.score_thr,
    )
    run = Run(inferencer, output, tasks, args, Progress(len(sources)))
    videos: list[Path] = []
    if args.format == 'drawings':
        videos, sources = sources.split_videos()
        output.check(videos, sources)
    try:
        for path in videos:
            run.draw_video(path)
        run.segment(sources)
    finally:
        output.close()
    done = run.progress.done - run.progress.failed
    print(output.finish(done))
    if args.format != 'drawings' and run.progress.done:
        print(run.progress.line())
    if run.failed:
        names = ', '.join(run.failed)
        if run.progress.failed > MAX_NAMES:
            names += (
                f' and {run.progress.failed - MAX_NAMES} more, named above'
            )
        sys.exit(
            f'{run.progress.failed} of {run.progress.done} images failed: '
            f'{names}'
        )


def place_of(launcher: str) -> tuple[int, int, int | None]:
    """Return rank, number of processes, and rank on this machine."""
    if launcher == 'none':
        return 0, 1, None
    try:
        return tuple(
            int(os.environ[VARIABLES[launcher][name]])
            for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
        )
    except KeyError as error:
        sys.exit(
            f'--launcher {launcher} needs {error} in the environment, where '
            'the launcher sets it.'
        )


def build(args: argparse.Namespace, local_rank: int | None):
    """Return the inferencer, on the GPU of this process if there are any."""
    config = None
    if args.config.endswith('.py') and not args.weights:
        sys.exit('A config needs --weights, its checkpoint.')
    if args.weights:
        config = load_config(args.config, args.cfg_options)
    elif args.cfg_options:
        sys.exit('--cfg-options are of a config file, with --weights.')
    find_project()
    import torch

    from projects.oneformer.inferencer import OneFormerInferencer

    device = args.device
    if device is None and local_rank is not None and torch.cuda.is_available():
        device = f'cuda:{local_rank % torch.cuda.device_count()}'
    return OneFormerInferencer.from_pretrained(
        args.weights or args.config,
        device,
        config=config,
        compile=args.compile,
        tile=args.tile,
        overlap=args.overlap,
        tile_score_thr=args.score_thr,
    )


class Run:
    """Reads, segments and writes images, the three at the same time.

    Threads read the next images and write the last results while the model
    computes in this one; a few of each wait, whatever the number of images.

    Args:
        inferencer (OneFormerInferencer): The model.
        output (Drawings | Lines): Where results go.
        tasks (list[str]): Tasks to solve for each image.
        args (argparse.Namespace): Batch size, threads and threshold.
        progress (Progress): Counts the images.

    Attributes:
        failed (list[str]): Names of the first images that failed.
    """

    def __init__(self, inferencer, output, tasks, args, progress) -> None:
        self.inferencer = inferencer
        self.output = output
        self.tasks = tasks
        self.args = args
        self.progress = progress
        self.failed: list[str] = []

    def segment(self, items: Iterable[Item]) -> None:
        """Segment images that are not done."""

        def write(pair):
            self.output.write(*pair)
            return pair[0]

        for item in ahead(
            write,
            self.results(self._not_done(items)),
            threads=1,
            waiting=self.args.batch_size,
        ):
            self._done(item)

    def draw_video(self, path: Path) -> None:
        """Segment a video; its drawings become a video for each task."""
        import numpy as np

        from projects.oneformer.video_writing import VideoWriter, frame_rate

        if str(path) in self.output:
            return
        folder = self.output.results.folder
        files = self.output.begin_video(path)
        rate = frame_rate(path)
        writers = {
            task: VideoWriter(folder / file, rate)
            for task, file in files.items()
        }

        def write(pair):
            _, result = pair
            for task, writer in writers.items():
                writer.add(np.asarray(result.plot(task)))
            return result.size

        number, size = 0, None
        try:
            for size_of_frame in ahead(
                write,
                self.results(frames(path)),
                threads=1,
                waiting=self.args.batch_size,
            ):
                number, size = number + 1, size_of_frame
                self.progress.step()
            for writer in writers.values():
                writer.close()
        finally:
            for writer in writers.values():
                writer.discard()
        if size is not None:
            height, width = size
            record = dict(height=height, width=width, frames=number)
            self.output.results.add_files(path, record, files)
            print(f'{path}: {", ".join(self.tasks)}', flush=True)

    def results(self, items: Iterable[Item]) -> Iterator[tuple]:
        """Yield images with their results; failures are reported."""
        from projects.oneformer.images import ImageError

        waiting: deque[Item] = deque()

        def images() -> Iterator:
            read = ahead(
                self._read,
                items,
                self.args.threads,
                self.args.threads + self.args.batch_size,
            )
            for item in read:
                if isinstance(item.content, ImageError):
                    self._fail(item, item.content)
                else:
                    waiting.append(item._replace(content=None))
                    yield item.content

        for result in self.inferencer(
            images(),
            self.tasks,
            self.args.batch_size,
            return_errors=True,
            score_thr=self.args.score_thr,
        ):
            item = waiting.popleft()
            if isinstance(result, ImageError):
                self._fail(item, result)
            else:
                yield (
                    item,
                    dataclasses.replace(result, image_name=item.path),
                )

    def _read(self, item: Item) -> Item:
        """Return an image with its pixels, or the error in their place."""
        from projects.oneformer.images import ImageError

        if item.content is not None:
            return item
        try:
            return item._replace(content=self.inferencer.read(item.path))
        except ImageError as error:
            return item._replace(content=error)

    def _not_done(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if item.path in self.output:
                self.progress.skipped += 1
            else:
                yield item

    def _done(self, item: Item) -> None:
        from projects.oneformer.images import printable

        self.progress.step()
        if self.args.format == 'drawings':
            tasks = ', '.join(self.tasks)
            print(f'{printable(item.path)}: {tasks}', flush=True)

    def _fail(self, item: Item, error: Exception) -> None:
        from projects.oneformer.images import printable

        name = printable(item.path)
        text = str(error)
        if name not in text:  # of an array, whose name is not known
            text = f'{name}: {text}'
        print(text, file=sys.stderr, flush=True)
        if len(self.failed) < MAX_NAMES:
            self.failed.append(name)
        self.progress.step(failed=True)


if __name__ == '__main__':
    with one_line_errors():
        main()
