"""How cost grows with the size of the problem, one table row each.

Each row varies one quantity and keeps the others. The growth is the exponent
``e`` of the last step: cost is multiplied by ``m ** e`` when the quantity is
multiplied by ``m``, so 1 is proportional and 2 quadratic.

Run: OMP_NUM_THREADS=2 python benchmarks/growth.py --out growth.md
"""

import argparse
import copy
import math
import multiprocessing
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _measure import interleave, machine, peak_memory, three_digits

MIB = 2**20


class Settings(NamedTuple):
    """How much to measure.

    Attributes:
        repeats (int): Timed rounds of each size.
        tiny (bool): Tiny networks and few sizes: whether it runs, not how
            fast.
    """

    repeats: int
    tiny: bool

    @property
    def network(self) -> str:
        """Name of the network."""
        return 'tiny' if self.tiny else 'swin-t'

    def sizes(self, *sizes: int) -> Sequence[int]:
        """Return the sizes of a row, the first two of them if tiny."""
        return sizes[:2] if self.tiny else sizes


class Growth(NamedTuple):
    """One row of the table.

    Attributes:
        quantity (str): What varies.
        cost (str): What is measured, with its unit.
        values (dict[int, float]): Cost of each size, in rising order.
    """

    quantity: str
    cost: str
    values: dict[int, float]

    @property
    def exponent(self) -> float:
        """Exponent of the last step, as defined at the top of the file."""
        (x0, y0), (x1, y1) = list(self.values.items())[-2:]
        return math.log(y1 / y0) / math.log(x1 / x0)


Rows = Iterator[Growth]


def cost_rows(quantity: str, calls: dict[int, Callable], repeats: int) -> Rows:
    """Yield time and memory of a call per size."""
    memory = {}
    for size, call in calls.items():
        call()  # what is computed once per size
        memory[size] = peak_memory(call) / MIB
    seconds = interleave(calls, repeats, warmup=0)
    medians = {size: statistics.median(own) for size, own in seconds.items()}
    yield Growth(quantity, 's', medians)
    yield Growth(quantity, 'MiB at most', memory)


def object_rows(settings: Settings) -> Rows:
    """A training step with more and more objects."""
    import _models as models

    side = 64 if settings.tiny else 256
    network = models.make_ours(settings.network, training=True)

    def step(batch: models.Batch) -> None:
        losses = network.loss(batch.inputs, batch.samples)
        sum(losses.values()).backward()
        network.zero_grad()

    calls = {
        objects: partial(
            step, models.training_batch(network, side, objects, count=1)
        )
        for objects in settings.sizes(1, 10, 50, 100, 200)
    }
    yield from cost_rows(
        f'objects of an image, training step, {side} x {side}, 150 queries',
        calls,
        settings.repeats,
    )


def query_rows(settings: Settings) -> Rows:
    """Three results with more and more queries."""
    side = 64 if settings.tiny else 512
    calls = {
        queries: inference_call(settings, side, queries)
        for queries in settings.sizes(50, 100, 250, 500)
    }
    yield from cost_rows(
        f'queries, three results, {side} x {side}', calls, settings.repeats
    )


def side_rows(settings: Settings) -> Rows:
    """Three results of larger and larger images."""
    sides = (64, 128) if settings.tiny else (256, 512, 1024, 2048)
    calls = {side: inference_call(settings, side, 150) for side in sides}
    yield from cost_rows(
        'side of a square image, three results', calls, settings.repeats
    )


def inference_call(settings: Settings, side: int, queries: int) -> Callable:
    """Return a call that makes the three results of an image."""
    import _models as models

    pair = models.make_pair(settings.network, False, queries)
    image = models.images(1, side, side)
    models.make_confident(pair, image)
    ours = pair.ours

    @torch.inference_mode()
    def call() -> None:
        ours.predict(image, models.test_samples(side))

    return call


def class_rows(settings: Settings) -> Rows:
    """The semantic result with more and more classes."""
    import _models as models

    models.register_all_modules()
    side = 128 if settings.tiny else 1024
    info = dict.fromkeys(
        ('img_shape', 'ori_shape', 'batch_input_shape'), (side, side)
    )
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(150, side // 4, side // 4, generator=generator)
    calls = {}
    for classes in settings.sizes(10, 100, 1000):
        head = models.MODELS.build(
            dict(
                type='OneFormerFusionHead',
                num_classes=classes,
                thing_labels=[],
            )
        )
        scores = torch.randn(150, classes + 1, generator=generator)
        calls[classes] = partial(head, 'semantic', scores, masks, info)
    yield from cost_rows(
        f'classes, semantic result, {side} x {side}, 150 queries',
        calls,
        settings.repeats,
    )


def metric_rows(settings: Settings) -> Rows:
    """Memory of the metrics with more and more images."""
    from evaluation import META, draw_sample

    from projects.oneformer.evaluation import (
        InstanceAP,
        PanopticQuality,
        SemanticIoU,
    )

    sample = draw_sample(np.random.default_rng(0), (240, 320), 50, 20)
    for kind in (PanopticQuality, InstanceAP, SemanticIoU):
        memory = {}
        for images in settings.sizes(100, 1000, 5000):
            metric = kind()
            metric.dataset_meta = META
            memory[images] = evaluation_memory(metric, sample, images)
        yield Growth(
            f'images of 240 x 320, {kind.__name__}', 'MiB at most', memory
        )


def evaluation_memory(metric, sample: dict, images: int) -> float:
    """Return the MiB that an evaluation adds to a process at most."""
    from evaluation import read_memory

    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)

    def evaluate() -> None:
        Path('/proc/self/clear_refs').write_text('5')  # reset the peak
        before = read_memory('VmHWM')
        for number in range(images):
            # Each image has annotations of its own.
            own = copy.deepcopy(sample) | dict(img_id=number)
            metric.process({}, [own])
        metric.evaluate(images)
        sender.send((read_memory('VmHWM') - before) / 1024)

    child = context.Process(target=evaluate)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f'The evaluation of {images} images failed.')
    return receiver.recv()


ROWS: dict[str, Callable[[Settings], Rows]] = {
    'objects': object_rows,
    'queries': query_rows,
    'side': side_rows,
    'classes': class_rows,
    'metrics': metric_rows,
}


def markdown(rows: Sequence[Growth]) -> str:
    """Return the table, and the machine below it."""
    lines = [
        '| varied | cost | at each size | exponent |',
        '|---|---|---|---|',
    ]
    for row in rows:
        cells = ', '.join(
            f'{size}: {three_digits(value)}'
            for size, value in row.values.items()
        )
        lines.append(
            f'| {row.quantity} | {row.cost} | {cells} | {row.exponent:.2f} |'
        )
    about = ', '.join(f'{key} {value}' for key, value in machine().items())
    return '\n'.join([*lines, '', f'Measured on: {about}.', ''])


def parse_args(args: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=[*ROWS],
        default=[*ROWS],
        metavar='ROW',
        help=f'what to vary, of {", ".join(ROWS)}; default: all',
    )
    parser.add_argument('--out', type=Path, help='Markdown file to write')
    parser.add_argument(
        '--repeats', type=int, default=3, help='rounds of each size'
    )
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='tiny networks and few sizes: whether it runs, not how fast',
    )
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    """Measure the chosen rows, print the table and write it."""
    options = parse_args(args)
    warnings.filterwarnings('ignore')
    settings = Settings(options.repeats, options.tiny)
    rows = []
    for name in options.rows:
        for row in ROWS[name](settings):
            rows.append(row)
            print(f'{row.quantity}, {row.cost}: {row.values}', flush=True)
            if options.out:  # the rows so far, should a later one fail
                options.out.write_text(markdown(rows))
    print(markdown(rows))


if __name__ == '__main__':
    main()
