"""Work ahead in threads, in order and with a bound."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    waiting: int,
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in the order of the items.

    While the caller works on a result, threads compute the next ones. Chained
    calls overlap: what reads, what computes and what writes.

    Args:
        function (Callable): Runs in threads.
        items (Iterable): Asked for by the thread of the caller, only as far
            ahead as results may wait.
        threads (int): How many at a time.
        waiting (int): Results, or items in work, that may wait for the
            caller; memory is bounded by it.

    Raises:
        Exception: Whatever ``function`` raises, in place of its result.
    """
    queue: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                queue.append(pool.submit(function, item))
                if len(queue) > waiting:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:  # after an error, or if the caller stops
                future.cancel()
