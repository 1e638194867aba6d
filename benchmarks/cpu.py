"""The CPU table: this project against transformers and mmdet.

Ours and the peer's call are timed in turns in one process, on the same inputs
and, where there is a network, with the same weights. A ratio is ours divided
by the peer's, taken round by round; memory is that of PyTorch's allocator.

Run: OMP_NUM_THREADS=2 python benchmarks/cpu.py --out table.md
"""

import argparse
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _measure import (
    Row,
    Spread,
    allocations,
    compare,
    interleave,
    machine,
    markdown,
    peak_memory,
    top_operators,
)
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
TASKS = ('panoptic', 'instance', 'semantic')
MIB = 2**20
# By itself it fails where mmcv has no compiled operators.
IMPORT_MMDET = """
import runpy
runpy.run_path('projects/oneformer/mmcv_ops.py')['ensure_mmcv_ops']()
import mmdet.datasets
import mmdet.models
"""


class Settings(NamedTuple):
    """How much to measure.

    Attributes:
        repeats (int): Timed rounds of each row.
        data (Path): Folder with ``coco_panoptic_mini`` and ``ade20k_mini``;
            images are drawn where it has none.
        tiny (bool): Tiny networks and images: whether it runs, not how
            fast.
    """

    repeats: int
    data: Path
    tiny: bool

    @property
    def network(self) -> str:
        """Name of the network."""
        return 'tiny' if self.tiny else 'swin-t'

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return 64 if self.tiny else 512


Rows = Iterator[Row]


class Inference(NamedTuple):
    """The calls of the rows about forward and result."""

    ours: dict[str, Callable]  # by task, and 'all'
    peer: dict[str, Callable]


def inference_calls(settings: Settings) -> Inference:
    """Prepare networks, image and calls."""
    import _models as models
    from _peers import image_processor, network_output, post_process

    pair = models.make_pair(settings.network, training=False)
    size = settings.size
    image = models.images(1, size, size)
    models.make_confident(pair, image)
    things = pair.ours.panoptic_fusion_head.is_thing
    processor = image_processor(
        pair.ours.class_names, things.nonzero()[:, 0].tolist()
    )
    stuff = set((~things).nonzero()[:, 0].tolist())
    ids = {task: models.task_ids([task]) for task in TASKS}

    @torch.inference_mode()
    def ours(task: str | None) -> object:
        return pair.ours.predict(image, models.test_samples(size, 1, task))

    @torch.inference_mode()
    def peer(*tasks: str) -> object:
        results = []
        for task in tasks:
            output = pair.peer(image, ids[task])
            logits = network_output(
                output.class_queries_logits[0], output.masks_queries_logits[0]
            )
            results.append(
                post_process(processor, logits, task, (size, size), stuff)
            )
        return results

    return Inference(
        {task: partial(ours, task) for task in TASKS}
        | {'all': partial(ours, None)},
        {task: partial(peer, task) for task in TASKS}
        | {'all': partial(peer, *TASKS)},
    )


def forward_rows(settings: Settings) -> Rows:
    """One task, all tasks, and all against one."""
    calls = inference_calls(settings)
    seconds = interleave(
        {
            'one': calls.ours['panoptic'],
            'all': calls.ours['all'],
            'peer one': calls.peer['panoptic'],
            'peer all': calls.peer['all'],
        },
        settings.repeats,
    )
    what = f'{settings.network}, {settings.size} x {settings.size}'
    yield compare(
        f'forward and panoptic result, {what}, s',
        'transformers',
        seconds['one'],
        seconds['peer one'],
        target=0.5,
    )
    yield compare(
        f'all three tasks for one image, {what}, s',
        'transformers, 3 calls',
        seconds['all'],
        seconds['peer all'],
        target=0.25,
        note='Networks have random weights; the class layer is scaled so that '
        'one in five queries is sure of a class. The instance result keeps '
        'all scores on both sides, as average precision needs.',
    )
    yield compare(
        f'three tasks against one, {what}, s',
        'ours, one task',
        seconds['all'],
        seconds['one'],
        target=1.4,
    )


def blob_logits(
    queries: int, sure: int, num_classes: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Draw logits as those of a trained network.

    Masks are smooth blobs with an unsure border; some queries are sure of a
    class, the others of "no object".

    Returns:
        tuple[Tensor, Tensor]: Class logits (queries, num_classes + 1) and
        mask logits (queries, height, width).
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(queries, 1, 9, 17, generator=generator)
    wobble = F.interpolate(
        coarse, (height, width), mode='bicubic', align_corners=False
    )[:, 0]
    centre = torch.rand(queries, 2, 1, 1, generator=generator)
    radius = 0.03 + 0.2 * torch.rand(queries, 2, 1, 1, generator=generator)
    y = torch.linspace(0, 1, height)[None, :, None]
    x = torch.linspace(0, 1, width)[None, None]
    distance = ((y - centre[:, 0]) / radius[:, 0]) ** 2
    distance = distance + ((x - centre[:, 1]) / radius[:, 1]) ** 2
    masks = (8 * (1 - distance) + 2 * wobble).clamp(-12, 12)
    scores = torch.randn(queries, num_classes + 1, generator=generator)
    labels = torch.randint(num_classes, (queries,), generator=generator)
    labels[sure:] = num_classes
    scores[torch.arange(queries), labels] += 9
    order = torch.randperm(queries, generator=generator)
    return scores[order], masks


def post_processing_rows(sure: int, settings: Settings) -> Rows:
    """The three results from the same logits, some queries being sure."""
    ours, peer, lenient_peer = post_processing_calls(settings, sure)
    seconds = interleave(
        {'ours': ours, 'peer': peer, 'lenient': lenient_peer},
        settings.repeats,
    )
    work = f'three results, {sure} of 250 queries sure, 1024 x 2048, K = 19'
    realistic = sure < 250
    note = (
        'The logits of post-processing are drawn: smooth blobs, some of the '
        'queries sure of a class, the others of "no object". '
        '"Only confident" leaves instances with a score up to 0.5 out of the '
        "peer's result, ours keeps them."
    )
    yield compare(
        f'{work}, s',
        'transformers',
        seconds['ours'],
        seconds['peer'],
        target=0.2 if realistic else None,
        note=note,
    )
    yield compare(
        f'{work}, s',
        'transformers, only confident',
        seconds['ours'],
        seconds['lenient'],
    )
    yield compare(
        f'{work}, MiB at most',
        'transformers',
        [peak_memory(ours) / MIB],
        [peak_memory(peer) / MIB],
        target=0.25 if realistic else None,
    )


def post_processing_calls(
    settings: Settings, sure: int
) -> tuple[Callable, Callable, Callable]:
    """Return our call, the peer's, and the peer's with less to do."""
    import _models as models
    from _peers import image_processor, network_output, post_process

    size = (64, 128) if settings.tiny else (1024, 2048)
    scores, masks = blob_logits(250, sure, 19, size[0] // 4, size[1] // 4)
    things = range(11, 19)
    models.register_all_modules()
    head = models.MODELS.build(
        dict(
            type='OneFormerFusionHead', num_classes=19, thing_labels=[*things]
        )
    )
    processor = image_processor([str(i) for i in range(19)], things)
    info = dict(img_shape=size, ori_shape=size, batch_input_shape=size)

    @torch.inference_mode()
    def ours() -> None:
        for task in TASKS:
            head(task, scores, masks, info)

    @torch.inference_mode()
    def peer(only_confident: bool) -> None:
        output = network_output(scores, masks)
        stuff = set(range(19)) - set(things)
        for task in TASKS:
            post_process(processor, output, task, size, stuff, only_confident)

    return ours, partial(peer, False), partial(peer, True)


def training_rows(settings: Settings) -> Rows:
    """Forward, loss and backward, in time and memory."""
    what = (
        f'training step, {settings.network}, batch 2 of {settings.size} x '
        f'{settings.size}'
    )
    networks = training_networks(settings)
    for objects in (10, 60):
        steps = training_steps(networks, settings.size, objects)
        # The first run of each is the one for memory, and not timed.
        memory = {
            name: peak_memory(step) / MIB for name, step in steps.items()
        }
        seconds = interleave(steps, settings.repeats, warmup=0)
        for peer in ('transformers', 'mmdet Mask2Former'):
            if peer not in steps:
                continue
            work = f'{what}, {objects} objects'
            # Bounds against Mask2Former, at a usual number of objects.
            bounded = peer == 'mmdet Mask2Former' and objects == 10
            yield compare(
                f'{work}, s',
                peer,
                seconds['ours'],
                seconds[peer],
                target=1.25 if bounded else None,
            )
            yield compare(
                f'{work}, MiB at most',
                peer,
                [memory['ours']],
                [memory[peer]],
                target=0.6 if bounded else None,
                note='Memory of a training step counts activations and '
                'gradients, not weights and inputs. Mask2Former has as many '
                'queries as OneFormer, but neither texts nor task.',
            )


def training_networks(settings: Settings) -> dict:
    """Build ours and the peers' networks, by name."""
    import _models as models

    pair = models.make_pair(settings.network, training=True)
    networks = {'ours': pair.ours, 'transformers': pair.peer}
    if not settings.tiny:
        networks['mmdet Mask2Former'] = models.mask2former(num_queries=150)
    return networks


def training_steps(
    networks: dict, size: int, objects: int
) -> dict[str, Callable]:
    """Return one step of each network on the same batch."""
    import _models as models

    batch = models.training_batch(networks['ours'], size, objects)

    def step(name: str) -> None:
        network = networks[name]
        if name == 'transformers':
            network(**batch.peer).loss.sum().backward()
        else:
            losses = network.loss(batch.inputs, batch.samples)
            sum(losses.values()).backward()
        network.zero_grad()

    return {name: partial(step, name) for name in networks}


def memory_growth_rows(settings: Settings) -> Rows:
    """How much more memory a step takes with more objects."""
    import _models as models

    networks = {'ours': models.make_ours(settings.network, training=True)}
    memory = {}
    for objects in (10, 100):
        (step,) = training_steps(networks, settings.size, objects).values()
        step()  # tables that are made once
        memory[objects] = peak_memory(step) / MIB
    yield compare(
        f'memory of the step, {settings.network}, batch 2, 100 objects, MiB',
        'ours, 10 objects',
        [memory[100]],
        [memory[10]],
    )


def matching_rows(settings: Settings) -> Rows:
    """Ten predictions of sixteen images, and whether the pairs agree."""
    images, objects, size = matching_problem(settings)
    ours, peer = matching_calls(images, objects, size)
    equal = sum(a == b for a, b in zip(ours(), peer(), strict=True))
    seconds = interleave({'ours': ours, 'peer': peer}, settings.repeats, 0)
    yield compare(
        f'matching, 10 predictions x {images} images, 250 queries x '
        f'{objects} objects, s',
        'mmdet, image by image, from mask logits',
        seconds['ours'],
        seconds['peer'],
        target=0.4,
        note=f'Matching draws the same points on both sides: {equal} of '
        f'{10 * images} assignments are equal.',
    )


def matching_problem(settings: Settings) -> tuple[int, int, int]:
    """Return images, objects of each, and their height and width."""
    return (2, 5, 64) if settings.tiny else (16, 100, 512)


def matching_calls(
    images: int, objects: int, size: int
) -> tuple[Callable, Callable]:
    """Return our and mmdet's matching, each giving a list of pairs.

    The masks of the peer are multiplied out before: its network has done so.
    """
    import _models as models

    from projects.oneformer.models.losses.target import Target

    models.register_all_modules()
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    scores = [
        torch.randn(images, 250, models.NUM_CLASSES + 1, generator=generator)
        for _ in range(10)
    ]
    embeds = torch.randn(images, 250, 256, generator=generator)
    features = torch.randn(
        images, 256, size // 32, size // 32, generator=generator
    )
    features = F.interpolate(
        features / 8, (size // 4, size // 4), mode='bicubic'
    )
    targets = [
        models.InstanceData(
            labels=torch.from_numpy(
                rng.integers(0, models.NUM_CLASSES, objects)
            ),
            masks=torch.from_numpy(models.ellipses(rng, objects, size)).bool(),
        )
        for _ in range(images)
    ]
    own_targets = [Target(own.labels, own.masks) for own in targets]
    matcher = models.TASK_UTILS.build(dict(type='QueryMatcher'))
    head = models.mask2former(num_queries=250).panoptic_head
    masks = torch.einsum('bqc,bchw->bqhw', embeds, features)

    def ours() -> list:
        torch.manual_seed(1)
        matches = matcher(scores, [embeds] * 10, features, own_targets)
        return [
            sorted(zip(m.queries.tolist(), m.targets.tolist(), strict=True))
            for layer in matches
            for m in layer
        ]

    @torch.no_grad()
    def peer() -> list:
        torch.manual_seed(1)
        pairs = []
        for layer in scores:
            for i, target in enumerate(targets):
                *_, chosen = head._get_targets_single(
                    layer[i], masks[i], target, {}
                )
                pairs.append(
                    [
                        (query, index)
                        for query, index in zip(
                            chosen.pos_inds.tolist(),
                            chosen.pos_assigned_gt_inds.tolist(),
                            strict=True,
                        )
                    ]
                )
        return pairs

    return ours, peer


def data_rows(settings: Settings) -> Rows:
    """Training samples per second on one core."""
    import _data as data

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for recipe in data.recipes(settings.data):
        calls = {'ours': recipe.ours, **recipe.peers}
        seconds = interleave(calls, 2 * settings.repeats)
        rate = {
            name: [recipe.count / value for value in values]
            for name, values in seconds.items()
        }
        peer = max(recipe.peers, key=lambda name: Spread.of(rate[name]).median)
        yield compare(
            f'training samples per second and core, {recipe.name}',
            peer,
            rate['ours'],
            rate[peer],
            target=recipe.target,
            at_least=True,
            note='A training sample of transformers is decoded with Pillow, '
            'resized to the test size of the recipe and not augmented; its '
            'texts are not tokenized, nor are ours. Of its two processors '
            'the faster one counts.',
        )
    torch.set_num_threads(threads)


def start_up_rows(settings: Settings) -> Rows:
    """How long it takes until a program has started."""

    def run(*args: str) -> None:
        done = subprocess.run(
            [sys.executable, *args], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f'{args} failed: {done.stderr}')

    programs = [
        path.relative_to(ROOT).as_posix()
        for path in sorted(ROOT.glob('tools/**/*.py'))
        if '__main__' in path.read_text()
    ]
    seconds = interleave(
        {
            **{path: partial(run, path, '--help') for path in programs},
            'ours': partial(run, '-c', 'import projects.oneformer'),
            'mmdet': partial(run, '-c', IMPORT_MMDET),
        },
        settings.repeats,
    )
    slowest = max(programs, key=lambda path: Spread.of(seconds[path]).median)
    yield Row(
        f'--help of the slowest of {len(programs)} tools, {slowest}, s',
        '',
        Spread.of(seconds[slowest]),
        target=0.2,
    )
    more = [
        a - b for a, b in zip(seconds['ours'], seconds['mmdet'], strict=True)
    ]
    yield Row(
        'import projects.oneformer, s more than mmdet.models and '
        'mmdet.datasets',
        '',
        Spread.of(more),
        Spread.of(seconds['mmdet']),
        target=0.5,
    )


def bound_rows(settings: Settings) -> Rows:
    """What the arithmetic of our calls takes at the rate of this machine."""
    from torch.utils.flop_counter import FlopCounterMode

    rate = matmul_rate(256 if settings.tiny else 2048)
    yield Row('matrix product, float32, GFLOP/s', '', Spread.of([rate]))
    copy = copy_rate(MIB if settings.tiny else 256 * MIB)
    yield Row('copy, GB read and written per second', '', Spread.of([copy]))
    networks = {'ours': training_networks(settings)['ours']}
    (step,) = training_steps(networks, settings.size, 60).values()
    calls = inference_calls(settings).ours
    for name, call in (
        ('one task', calls['panoptic']),
        ('three tasks', calls['all']),
        ('training step, batch 2, 60 objects', step),
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        flops = counter.get_total_flops() / 1e9
        yield Row(f'{name}, GFLOP', '', Spread.of([flops]))
        yield Row(f'{name}, s at least', '', Spread.of([flops / rate]))
        gigabytes = allocated_bytes(call) / 1e9
        yield Row(f'{name}, GB of new tensors', '', Spread.of([gigabytes]))


def allocated_bytes(call: Callable) -> int:
    """Return how many bytes a call allocates, freed ones included."""
    return sum(size for size in allocations(call) if size > 0)


def matmul_rate(size: int) -> float:
    """Return 1e9 floating-point operations per second of a product."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = min(interleave({'': lambda: a @ b}, 5)[''])
    return 2 * size**3 / best / 1e9


def copy_rate(size: int) -> float:
    """Return 1e9 bytes read and written per second by a copy."""
    a = torch.ones(size // 4)
    b = torch.empty_like(a)
    best = min(interleave({'': lambda: b.copy_(a)}, 5)[''])
    return 2 * size / best / 1e9


ROWS: dict[str, Callable[[Settings], Rows]] = {
    'forward': forward_rows,
    'post-processing': partial(post_processing_rows, 40),
    'post-processing-worst': partial(post_processing_rows, 250),
    'training': training_rows,
    'memory-growth': memory_growth_rows,
    'matching': matching_rows,
    'data': data_rows,
    'start-up': start_up_rows,
    'bound': bound_rows,
}


def profiles(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield a name and the operators of our own calls."""
    calls = inference_calls(settings).ours
    networks = {'ours': training_networks(settings)['ours']}
    (step,) = training_steps(networks, settings.size, 60).values()
    for name, call in (
        ('forward and panoptic result', calls['panoptic']),
        ('all three tasks', calls['all']),
        ('training step, 60 objects', step),
        ('three results', post_processing_calls(settings, 40)[0]),
        ('matching', matching_calls(*matching_problem(settings))[0]),
    ):
        call()
        yield name, top_operators(call)


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
        help=f'what to measure, of {", ".join(ROWS)}; default: all',
    )
    parser.add_argument('--out', type=Path, help='Markdown file to write')
    parser.add_argument(
        '--repeats', type=int, default=5, help='rounds of each row'
    )
    parser.add_argument(
        '--quick', action='store_true', help='one round of each row'
    )
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='tiny networks and images: whether it runs, not how fast',
    )
    parser.add_argument(
        '--data',
        type=Path,
        default=ROOT.parent / 'shared' / 'data',
        help='folder with coco_panoptic_mini and ade20k_mini',
    )
    parser.add_argument(
        '--profile',
        action='store_true',
        help='print the operators that take longest instead of the table',
    )
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    """Measure the chosen rows, print the table and write it."""
    options = parse_args(args)
    warnings.filterwarnings('ignore')
    random.seed(0)
    repeats = 1 if options.quick else options.repeats
    settings = Settings(repeats, options.data, options.tiny)
    if options.profile:
        for name, table in profiles(settings):
            print(f'\n{name}\n{table}')
        return
    about, rows = machine(), []
    for name in options.rows:
        start = time.perf_counter()
        for row in ROWS[name](settings):
            rows.append(row)
            print(
                f'{row.work} | {row.peer}: {row.ratio or row.ours}', flush=True
            )
            if options.out:  # what is there, should a later row fail
                options.out.write_text(markdown(rows, about))
        print(f'{name} took {time.perf_counter() - start:.0f} s', flush=True)
    print(markdown(rows, about))


if __name__ == '__main__':
    main()
