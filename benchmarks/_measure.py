"""Measure calls against each other: time, peak memory, and their ratios."""

import gc
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]


class Spread(NamedTuple):
    """Median, least and greatest of some measurements."""

    median: float
    least: float
    greatest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Spread':
        """Summarise at least one value."""
        return cls(
            statistics.median(values), min(values), max(values), len(values)
        )

    def __str__(self) -> str:
        median, least, greatest = map(three_digits, self[:3])
        if self.count == 1:
            return median
        return f'{median} ({least} to {greatest})'


def three_digits(value: float) -> str:
    """Write a number with three digits, or with all before the point."""
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'


class Row(NamedTuple):
    """One comparison of a benchmark table.

    Attributes:
        work (str): What was measured, with its unit.
        peer (str): What it was measured against.
        ours (Spread): Our measurements.
        theirs (Spread | None): Those of the peer.
        ratio (Spread | None): Ours divided by theirs.
        target (float | None): What the ratio, or ours where there is none,
            should reach.
        at_least (bool): Whether the target is a least, not a greatest value.
        note (str): What else the reader must know.
    """

    work: str
    peer: str
    ours: Spread
    theirs: Spread | None = None
    ratio: Spread | None = None
    target: float | None = None
    at_least: bool = False
    note: str = ''

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.target is None:
            return None
        value = (self.ratio or self.ours).median
        return value >= self.target if self.at_least else value <= self.target


def interleave(
    calls: dict[str, Call],
    repeats: int,
    warmup: int = 1,
    synchronize: Call = lambda: None,
    limit: float = float('inf'),
) -> dict[str, list[float]]:
    """Time calls in turns, so that a load from elsewhere meets all of them.

    The order is reversed from round to round.

    Args:
        calls (dict[str, Call]): What to time, by name.
        repeats (int): Timed rounds.
        warmup (int): Rounds before that.
        synchronize (Call): Waits until a device has done its work.
        limit (float): Seconds after which no timed round begins, of which
            there are three at least, or as many as asked for.

    Returns:
        dict[str, list[float]]: Seconds of each round, by name.
    """
    seconds = {name: [] for name in calls}
    end = time.perf_counter() + limit
    for turn in range(warmup + repeats):
        if turn >= warmup + 3 and time.perf_counter() > end:
            break
        names = list(calls) if turn % 2 == 0 else list(calls)[::-1]
        for name in names:
            gc.collect()
            synchronize()
            start = time.perf_counter()
            calls[name]()
            synchronize()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare the two measurements of each round, then summarise."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def compare(
    work: str,
    peer: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None = None,
    at_least: bool = False,
    note: str = '',
) -> Row:
    """Return the row of measurements taken in turns."""
    return Row(
        work,
        peer,
        Spread.of(ours),
        Spread.of(theirs),
        ratios(ours, theirs),
        target,
        at_least,
        note,
    )


def allocations(call: Call) -> list[int]:
    """Return what a call allocates (positive) and frees, in order, in bytes.

    By the events of PyTorch's allocator on the CPU. What was allocated before
    the call, such as weights and inputs, is not part of it, nor are arrays of
    NumPy and buffers inside libraries.
    """
    gc.collect()
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            call()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == '[memory]'
        and event.device_type() == torch.autograd.DeviceType.CPU
    ]
    # Sorting is stable: events of one moment stay in their order.
    return [size for _, size in sorted(events, key=lambda event: event[0])]


def peak_memory(call: Call) -> int:
    """Return how many bytes of the CPU a call holds at most."""
    return max(accumulate(allocations(call), initial=0))


def top_operators(call: Call, rows: int = 25) -> str:
    """Return a table of the operators that a call spends most time in."""
    with profile(
        activities=[ProfilerActivity.CPU],
        record_shapes=True,
        profile_memory=True,
    ) as profiler:
        call()
    averages = profiler.key_averages(group_by_input_shape=True)
    by_name = profiler.key_averages()
    options = dict(sort_by='self_cpu_time_total', row_limit=rows)
    return '\n'.join(
        [
            by_name.table(max_name_column_width=50, **options),
            averages.table(
                max_name_column_width=50, max_shapes_column_width=90, **options
            ),
        ]
    )


def machine() -> dict[str, str]:
    """Describe where and under which load the measurements are taken."""
    return {
        'processor': processor_name(),
        'cores': str(os.cpu_count()),
        'threads': str(torch.get_num_threads()),
        'torch': torch.__version__,
        'Python': platform.python_version(),
        'load before': ' '.join(f'{x:.2f}' for x in os.getloadavg()),
    }


def processor_name() -> str:
    """Return the model name that Linux gives, else that of Python."""
    try:
        with open('/proc/cpuinfo') as file:
            lines = [line for line in file if line.startswith('model name')]
    except OSError:
        lines = []
    if lines:
        return lines[0].split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


HEADER = (
    "| work | peer | ours | peer's | ratio (least to greatest) | runs "
    '| target | reached |'
)


def markdown(rows: Sequence[Row], about: dict[str, str]) -> str:
    """Return the table of some rows with the machine below it."""
    lines = [HEADER, '|' + '---|' * (HEADER.count('|') - 1)]
    lines += [_line(row) for row in rows]
    notes = dict.fromkeys(row.note for row in rows if row.note)
    lines += ['', *(f'- {note}' for note in notes)] if notes else []
    machine_line = ', '.join(f'{key} {value}' for key, value in about.items())
    return '\n'.join([*lines, '', f'Measured on: {machine_line}.', ''])


def _line(row: Row) -> str:
    sign = '>=' if row.at_least else '<='
    cells = [
        row.work,
        row.peer or '-',
        str(row.ours),
        str(row.theirs) if row.theirs else '-',
        str(row.ratio) if row.ratio else '-',
        str(row.ours.count),
        f'{sign} {row.target:g}' if row.target is not None else '-',
        {True: 'yes', False: '**no**', None: '-'}[row.reached],
    ]
    return '| ' + ' | '.join(cells) + ' |'
