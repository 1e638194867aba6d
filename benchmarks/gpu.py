"""All checks and measurements that need a GPU, in one file.

Runs the tests marked ``gpu``, deformable attention, inference and training:
our networks, eager and compiled, and those of transformers, in float32 and
bfloat16. What does not fit into the time limit is named in the table.

Run: python benchmarks/gpu.py --out gpu.md
"""

import argparse
import gc
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from _measure import Spread, interleave, peak_memory, processor_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tools' / 'analysis_tools'))

from _cards import find_card  # noqa: E402

PARTS = ('tests', 'attention', 'inference', 'training')
KINDS = ('transformers', 'ours', 'ours, compiled')
OBJECTS = 20


class Workload(NamedTuple):
    """A network and its pictures."""

    network: str
    size: int
    batch: int
    queries: int


WORKLOADS = (
    Workload('swin-t', 640, 4, 150),
    Workload('r50', 640, 4, 150),
    Workload('swin-l', 1024, 2, 150),
)
TINY_WORKLOADS = (Workload('tiny', 64, 2, 20),)


class Setting(NamedTuple):
    """Where and how long to measure."""

    device: str
    tiny: bool
    deadline: float

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.deadline

    @property
    def seconds_left(self) -> float:
        """How long a part may take, at least a moment."""
        return max(self.deadline - time.monotonic(), 1.0)

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """What to run."""
        return TINY_WORKLOADS if self.tiny else WORKLOADS

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        if self.device == 'cuda':
            torch.cuda.synchronize()


class Result(NamedTuple):
    """Measurements of one call."""

    seconds: Spread
    gibibytes: float
    flops: int


def test_part(setting: Setting) -> Iterator[str]:
    """Run the tests that need a GPU."""
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-rs']
    if setting.tiny:
        command += ['--collect-only', 'tests/test_benchmarks.py']
    yield from run_program(command, setting, lines=12)


def attention_part(setting: Setting) -> Iterator[str]:
    """Compare deformable attention with that of mmcv."""
    script = ROOT / 'benchmarks' / 'deformable_attention.py'
    if not script.is_file():
        yield f'Not measured: there is no {script.name}.'
        return
    command = [sys.executable, str(script), '--device', setting.device]
    if setting.tiny:
        command += ['--side', '64', '--batch', '1', '--rounds', '1']
        command += ['--decoder-rounds', '1']
    yield from run_program(command, setting, lines=80)


def run_program(
    command: list[str], setting: Setting, lines: int
) -> Iterator[str]:
    """Yield the last lines that a program prints, and how it ended."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=setting.seconds_left,
        )
    except subprocess.TimeoutExpired:
        yield 'Not finished: out of time.'
        return
    printed = done.stdout.splitlines()[-lines:]
    if done.returncode:
        printed += done.stderr.splitlines()[-lines:]
    yield '```'
    yield from printed
    yield '```'
    yield f'Exit status {done.returncode}.'


def network_part(training: bool, setting: Setting) -> Iterator[str]:
    """Measure inference, or training steps, of all networks."""
    yield (
        '| network | precision | implementation | ms | pictures per second '
        '| GiB at most | TFLOP/s | of the peak |'
    )
    yield '|---|---|---|---|---|---|---|---|'
    # Compiling takes long: last, so that the time limit leaves it out first.
    for compiled in (False, True):
        kinds = [kind for kind in KINDS if ('compiled' in kind) == compiled]
        for workload in setting.workloads:
            if setting.late:
                yield f'| {label(workload)} | | not measured: out of time |'
                continue
            yield from measure_workload(workload, kinds, training, setting)


def label(workload: Workload) -> str:
    """Name a workload."""
    return (
        f'{workload.network}, {workload.batch} x {workload.size} x '
        f'{workload.size}'
    )


def measure_workload(
    workload: Workload, kinds: list[str], training: bool, setting: Setting
) -> Iterator[str]:
    """Yield a line per precision and implementation."""
    make_calls = training_calls if training else inference_calls
    calls = make_calls(workload, kinds, setting)
    for precision in (torch.float32, torch.bfloat16):
        name = str(precision).removeprefix('torch.')
        for kind, call in calls.items():
            cells = [label(workload), name, kind]
            if setting.late:
                cells.append('not measured: out of time')
            else:
                cells += measure(call, precision, workload.batch, setting)
            yield '| ' + ' | '.join(cells) + ' |'
    calls.clear()
    free_memory(setting)


def measure(
    call: Callable, precision: torch.dtype, batch: int, setting: Setting
) -> list[str]:
    """Return the cells of a line, or the reason why there are none."""

    def run() -> None:
        enabled = precision != torch.float32
        with torch.autocast(setting.device, precision, enabled=enabled):
            call()

    try:
        result = measure_call(run, count_flops(call), setting)
    # Whatever stops one implementation must not hide the others.
    except Exception as error:  # noqa: BLE001
        free_memory(setting)
        reason = str(error).strip().splitlines() or ['']
        return [f'failed: {type(error).__name__}: {reason[0][:120]}']
    rate = result.flops / result.seconds.median / 1e12
    peak = peak_rate(precision, setting.device)
    return [
        f'{1e3 * result.seconds.median:.1f}',
        f'{batch / result.seconds.median:.2f}',
        f'{result.gibibytes:.2f}',
        f'{rate:.3g}',
        f'{rate / peak:.0%}' if peak else '-',
    ]


def count_flops(call: Callable) -> int:
    """Count the arithmetic of a call in float32.

    It is the same in any precision, and the counter breaks the casts of
    autocast in inference mode. Compiled kernels would hide from it.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with (
        torch.compiler.set_stance('force_eager'),
        FlopCounterMode(display=False) as counter,
    ):
        call()
    return counter.get_total_flops()


def measure_call(run: Callable, flops: int, setting: Setting) -> Result:
    """Measure time and memory of a call."""
    run()  # compiles, and builds what is built once
    if setting.device == 'cuda':
        free_memory(setting)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        setting.synchronize()
        memory = torch.cuda.max_memory_allocated() - before
    else:
        memory = peak_memory(run)
    repeats = 1 if setting.tiny else 10
    seconds = interleave({'': run}, repeats, 2, setting.synchronize)['']
    return Result(Spread.of(seconds), memory / 2**30, flops)


def peak_rate(precision: torch.dtype, device: str) -> float | None:
    """Return the TFLOP/s of the card by its data sheet, if it is known."""
    if device != 'cuda':
        return None
    card = find_card(torch.cuda.get_device_name())
    if card is None:
        return None
    return card.float32 if precision == torch.float32 else card.half


def free_memory(setting: Setting) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if setting.device == 'cuda':
        torch.cuda.empty_cache()


def networks(
    workload: Workload, kinds: list[str], training: bool, setting: Setting
) -> dict[str, torch.nn.Module]:
    """Build the networks by kind, with equal weights but for R50."""
    import _models as models

    pair = models.make_pair(workload.network, training, workload.queries)
    built = {}
    for kind in kinds:
        network = pair.peer if kind == 'transformers' else pair.ours
        built[kind] = network.to(setting.device)
    if 'ours, compiled' in built:
        # On a CPU the compiler takes longer than all the rest.
        backend = 'eager' if setting.tiny else 'inductor'
        pair.ours.compile_parts(backend=backend)
    return built


def inference_calls(
    workload: Workload, kinds: list[str], setting: Setting
) -> dict[str, Callable]:
    """Return calls from pictures to panoptic results."""
    import _models as models
    from _peers import image_processor, network_output, post_process

    built = networks(workload, kinds, False, setting)
    size, batch = workload.size, workload.batch
    pictures = models.images(batch, size, size).to(setting.device)
    ids = models.task_ids(['panoptic'] * batch).to(setting.device)
    processor = image_processor(['0'], [])

    @torch.inference_mode()
    def ours(network) -> object:
        samples = models.test_samples(size, batch, 'panoptic')
        return network.predict(pictures, samples)

    @torch.inference_mode()
    def peer(network) -> list:
        output = network(pictures, ids)
        return [
            post_process(
                processor,
                network_output(scores.float(), masks.float()),
                'panoptic',
                (size, size),
                set(),
            )
            for scores, masks in zip(
                output.class_queries_logits,
                output.masks_queries_logits,
                strict=True,
            )
        ]

    return {
        kind: partial(peer if kind == 'transformers' else ours, network)
        for kind, network in built.items()
    }


def training_calls(
    workload: Workload, kinds: list[str], setting: Setting
) -> dict[str, Callable]:
    """Return steps of forward, loss and backward."""
    import _models as models

    built = networks(workload, kinds, True, setting)
    ours = next((n for k, n in built.items() if k != 'transformers'))
    batch = models.training_batch(
        ours, workload.size, OBJECTS, workload.batch
    ).to(setting.device)

    def our_step(network) -> None:
        losses = network.loss(batch.pictures, batch.samples)
        sum(losses.values()).backward()
        network.zero_grad()

    def peer_step(network) -> None:
        network(**batch.peer).loss.sum().backward()
        network.zero_grad()

    return {
        kind: partial(
            peer_step if kind == 'transformers' else our_step, network
        )
        for kind, network in built.items()
    }


def parse_args(args: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('gpu.md'))
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='tiny networks: whether it runs, not how fast',
    )
    parser.add_argument(
        '--time-limit', type=float, default=420, help='seconds'
    )
    options = parser.parse_args(args)
    if options.device == 'cuda' and not torch.cuda.is_available():
        parser.error(
            'PyTorch finds no GPU. Run it on a machine with one; to see only '
            'whether it runs, use --device cpu --tiny.'
        )
    if options.device == 'cpu' and not options.tiny:
        parser.error('On a CPU only --tiny networks finish in time.')
    return options


def main(args: list[str] | None = None) -> None:
    """Measure, print, and write after every line."""
    options = parse_args(args)
    warnings.filterwarnings('ignore')
    setting = Setting(
        options.device, options.tiny, time.monotonic() + options.time_limit
    )
    parts: dict[str, Callable[[Setting], Iterator[str]]] = {
        'tests': test_part,
        'attention': attention_part,
        'inference': partial(network_part, False),
        'training': partial(network_part, True),
    }
    lines = ['# On a GPU', '', about(setting)]
    for name in options.parts:
        lines += ['', f'## {name.capitalize()}', '']
        for line in parts[name](setting):
            lines.append(line)
            print(line, flush=True)
            options.out.write_text('\n'.join([*lines, '']))


def about(setting: Setting) -> str:
    """Describe the machine and what the columns hold."""
    device = processor_name()
    if setting.device == 'cuda':
        device = torch.cuda.get_device_name()
    return (
        f'{device}, torch {torch.__version__}, Python '
        f'{platform.python_version()}. Inference makes panoptic results; a '
        f'training step has forward, loss and backward with {OBJECTS} objects '
        'a picture. Memory does not count weights and inputs; arithmetic is '
        "that of matrix products and convolutions by PyTorch's counter, the "
        'peak that of the data sheet without sparsity, in float32 without '
        'tensor cores.'
    )


if __name__ == '__main__':
    main()
