"""Work ahead in threads stays in order and bounded."""

import sys
import threading
from pathlib import Path

import pytest

# The tools are scripts, which find each other in their folder.
sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

from _ahead import ahead  # noqa: E402


def test_results_come_in_the_order_of_the_items():
    """The first one takes until the second is done."""
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(60)
        elif item == 1:
            second.set()
        return item * 2

    found = list(ahead(work, range(9), threads=2, waiting=3))
    assert found == [0, 2, 4, 6, 8, 10, 12, 14, 16]


def test_items_are_not_asked_for_before_there_is_room():
    asked = []

    def items():
        for item in range(100):
            asked.append(item)
            yield item

    results = ahead(lambda item: item, items(), threads=2, waiting=4)
    assert asked == []
    for expected in range(10):
        assert next(results) == expected
        assert len(asked) == expected + 1 + 4
    results.close()
    assert len(asked) == 14


def test_the_next_item_is_in_work_while_the_caller_has_the_last():
    started = [threading.Event() for _ in range(3)]

    def work(item):
        started[item].set()
        return item

    results = ahead(work, range(3), threads=1, waiting=1)
    assert next(results) == 0
    assert started[1].wait(60)
    assert list(results) == [1, 2]


def test_an_error_takes_the_place_of_its_result():
    def work(item):
        return 6 // item

    results = ahead(work, (3, 2, 0, 1), threads=2, waiting=2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_arrives_after_the_results_before_it_started():
    def items():
        yield 1
        raise OSError('disk')

    with pytest.raises(OSError, match='disk'):
        list(ahead(str, items(), threads=1, waiting=0))
