"""How long something takes, and how much of it is left."""

import time


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    short = f'{minutes:02d}:{rest:02d}'
    return f'{hours}:{short}' if hours else short


class Stopwatch:
    """Estimates the time left by the pace since it was made.

    Args:
        done (int): Steps that were done before.
    """

    def __init__(self, done: int = 0) -> None:
        self.start, self.first = time.time(), done

    def left(self, done: int, total: int) -> str:
        """Return the time left, unknown before the first step.

        Args:
            done (int): Steps done by now.
            total (int): All steps.
        """
        if done <= self.first:
            return '--:--'
        pace = (time.time() - self.start) / (done - self.first)
        return duration(pace * (total - done))
