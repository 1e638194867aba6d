"""How far a run is, and how long the rest takes."""

import sys
import time
from datetime import timedelta

INTERVAL = 10.0  # seconds between two lines


class Progress:
    """Prints throughput and time left to the error stream, now and then.

    Args:
        total (int): Images of this run.

    Attributes:
        done (int): Images that were segmented, or failed.
        failed (int): Those of them that failed.
        skipped (int): Images that were done before.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self.skipped = 0
        self._start = self._printed = time.monotonic()

    def step(self, failed: bool = False) -> None:
        """Count an image, and print a line if the last one is old enough."""
        self.done += 1
        self.failed += failed
        now = time.monotonic()
        if now - self._printed >= INTERVAL:
            self._printed = now
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return images, throughput and time left, at least one being done."""
        seconds = max(1e-6, time.monotonic() - self._start)
        finished = self.done + self.skipped
        rate = self.done / seconds
        left = max(0, self.total - finished) / rate
        parts = [
            f'{finished:,} of {max(self.total, finished):,} images',
            f'{rate:.2f} a second',
            f'{timedelta(seconds=round(left))} left',
        ]
        if self.skipped:
            parts.append(f'{self.skipped:,} done before')
        if self.failed:
            parts.append(f'{self.failed:,} failed')
        return ', '.join(parts)
