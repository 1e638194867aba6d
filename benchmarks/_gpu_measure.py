"""Time, memory and share of the card's peak of calls, as rows to be stored.

Float32 means float32: TF32 is off in products and in cuDNN, unless the
precision is ``tf32``, which turns it on in both. In bfloat16 and float16,
which are autocast, what stays in float32 is without TF32.
"""

import gc
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from _measure import Spread, interleave, peak_memory, processor_name, ratios

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tools' / 'analysis_tools'))

from _cards import find_card  # noqa: E402

Calls = dict[str, Callable[[], object]]
AUTOCAST = dict(bfloat16=torch.bfloat16, float16=torch.float16)
OURS = 'ours'


class Meter(NamedTuple):
    """Measures on a device, and hands over each row when it is there.

    Attributes:
        device (str): 'cuda' or 'cpu'.
        tiny (bool): Whether it runs, not how fast.
        write (Callable): Takes a row.
    """

    device: str
    tiny: bool
    write: Callable[[dict], None]

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        if self.device == 'cuda':
            torch.cuda.synchronize()

    def compare(
        self,
        what: str,
        calls: Calls,
        precisions: Sequence[str] = ('bfloat16', 'float32'),
        images: int = 1,
        note: str = '',
        count: bool = True,
        cast: bool = True,
    ) -> None:
        """Measure calls in turns, precision by precision.

        Args:
            what (str): The work they do.
            calls (Calls): By implementation. Those that fail get a row that
                says so, and the others are measured.
            precisions (Sequence[str]): 'float32', 'tf32', 'bfloat16' or
                'float16'.
            images (int): Images of each call.
            note (str): What else the reader must know.
            count (bool): Count the arithmetic, in float32 and eager; it is
                the same in all precisions.
            cast (bool): Autocast to half precisions; otherwise the calls are
                in that precision themselves.
        """
        flops = {}
        for precision in precisions:
            use_precision(precision)
            ready, memory = {}, {}
            for name, call in calls.items():
                run = call
                if cast:
                    run = autocast(call, precision, self.device)
                row = dict(what=what, implementation=name, precision=precision)
                try:
                    if count and name not in flops:
                        flops[name] = count_flops(call)
                    compiled = self.warm_up(run)
                    memory[name] = self.memory_of(run)
                # Whatever stops one must not hide the others.
                except Exception as error:  # noqa: BLE001
                    self.write(row | dict(failed=summary(error)))
                    self.free()
                    continue
                ready[name] = run, row | compiled
            runs = {name: run for name, (run, _) in ready.items()}
            try:
                seconds = interleave(
                    runs,
                    1 if self.tiny else 20,
                    synchronize=self.synchronize,
                    limit=3.0 * len(runs),
                )
            # A kernel that failed late, which the other precisions survive.
            except Exception as error:  # noqa: BLE001
                for _, row in ready.values():
                    self.write(row | dict(failed=summary(error)))
                continue
            for name, (_, row) in ready.items():
                row.update(
                    ms=Spread.of([1e3 * s for s in seconds[name]])._asdict(),
                    images_per_second=images / Spread.of(seconds[name]).median,
                    gib=memory[name] / 2**30,
                    note=note,
                )
                if name in flops:
                    row |= self.rate(flops[name], row['ms']['median'], row)
                row['times_as_fast'] = {
                    other: ratios(seconds[other], seconds[name])._asdict()
                    for other in ready
                    if other != name and name.startswith(OURS)
                }
                row['share_of_memory'] = {
                    other: memory[name] / memory[other]
                    for other in row['times_as_fast']
                    if memory[other]
                }
                self.write(row)

    def warm_up(self, run: Callable) -> dict:
        """Run twice, and say how many graphs that compiled."""
        from torch._dynamo.utils import counters

        before = counters['stats']['unique_graphs']
        for _ in range(2):
            run()
        self.synchronize()
        graphs = counters['stats']['unique_graphs'] - before
        if not graphs:
            return {}
        breaks = sum(counters['graph_break'].values())
        return dict(graphs=graphs, graph_breaks=breaks)

    def memory_of(self, run: Callable) -> int:
        """Return how many bytes a call has at most, beyond what was there."""
        if self.device != 'cuda':
            return peak_memory(run)
        self.free()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        self.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def rate(self, flops: int, milliseconds: float, row: dict) -> dict:
        """Return TFLOP/s, and their share of what the card can do."""
        tflops = flops / milliseconds / 1e9
        peak = peak_rate(row['precision'], self.device)
        return dict(
            tflops=tflops,
            peak_tflops=peak,
            share_of_peak=tflops / peak if peak else None,
        )

    def free(self) -> None:
        """Give back what nothing refers to any more."""
        gc.collect()
        if self.device == 'cuda':
            torch.cuda.empty_cache()


def use_precision(precision: str) -> None:
    """Turn TF32 on or off, in products and in cuDNN alike."""
    allowed = precision == 'tf32'
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def autocast(call: Callable, precision: str, device: str) -> Callable:
    """Return a call in a precision."""

    def run() -> object:
        dtype = AUTOCAST.get(precision)
        with torch.autocast(device, dtype, enabled=dtype is not None):
            return call()

    return run


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


def peak_rate(precision: str, device: str) -> float | None:
    """Return the TFLOP/s of the card by its data sheet, if it is known."""
    card = (
        find_card(torch.cuda.get_device_name()) if device == 'cuda' else None
    )
    if card is None:
        return None
    if precision == 'float32':
        return card.float32
    # Tensor cores that know TF32 do half as much in it as in bfloat16.
    return card.half / 2 if precision == 'tf32' else card.half


def summary(error: Exception) -> str:
    """Return the first line of an error."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0][:200]}'


def machine(device: str) -> dict[str, str]:
    """Describe the machine: card, or processor, and versions."""
    return dict(
        card=torch.cuda.get_device_name()
        if device == 'cuda'
        else processor_name(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
