"""Many at once: in order, no more at once than allowed, and no further ahead than needed."""

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest

from shrota_client import Client, ParameterError
from shrota_client.results import in_order, in_order_async


class Endless:
    """Numbers without end, of which it is known how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for self.taken in count(1):
            yield self.taken - 1


def test_results_keep_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (7 - number % 8))
        return number * number

    assert list(in_order(work, range(40), 8)) == [number * number for number in range(40)]


def test_no_more_at_once_than_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    list(in_order(work, range(30), 3))
    assert most == 3


def test_endless_items_are_taken_as_they_are_needed() -> None:
    items = Endless()
    results = in_order(lambda number: number, items, 4)
    assert list(islice(results, 10)) == list(range(10))
    results.close()  # type: ignore[attr-defined]
    assert items.taken <= 10 + 4 + 1


def test_a_slow_first_item_holds_up_results_but_not_work() -> None:
    last_done, first = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert last_done.wait(5)
            first.set()
        if number == 49:
            last_done.set()
        return number

    assert list(in_order(work, range(50), 2)) == list(range(50))
    assert first.is_set()


def test_an_unforeseen_error_is_raised_where_it_belongs() -> None:
    results = in_order(lambda number: 1 // (3 - number), range(9), 2)
    assert list(islice(results, 3)) == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


async def test_tasks_keep_order_and_are_cancelled_when_nobody_takes_more() -> None:
    items, cancelled = Endless(), []

    async def work(number: int) -> int:
        try:
            await asyncio.sleep(0.001 if number < 6 else 30)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    results = in_order_async(work, items, 3)
    assert [await anext(results) for _ in range(6)] == list(range(6))
    await asyncio.sleep(0.01)
    await results.aclose()
    assert cancelled
    assert items.taken <= 6 + 3 + 1


def test_a_concurrency_of_nothing_is_refused() -> None:
    with Client("127.0.0.1:9") as client, pytest.raises(ParameterError, match="concurrency must be at least 1, not 0"):
        client.transcribe_many([], concurrency=0)
