"""Many utterances at once: what became of each, in the order in which they were given."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from shrota_client.errors import ParameterError, ShrotaError
from shrota_client.exchange import Audio
from shrota_client.transcript import Transcript

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Future(Protocol):
    """What a thread's future and a task have in common."""

    def done(self) -> bool: ...


Started = TypeVar("Started", bound=_Future)

MAX_FINISHED = 256
"""Results that may wait for a slower one before them; beyond that nothing new is started."""


@dataclass(frozen=True)
class Result:
    """What became of one item: a transcript, or the error that it met.

    Attributes:
        source: the item as it was given.
        transcript: None where ``error`` is set.
        error: None where ``transcript`` is set.
    """

    source: Audio
    transcript: Transcript | None = None
    error: ShrotaError | None = None

    def unwrap(self) -> Transcript:
        """The transcript; raises the error instead where there is one."""
        if self.transcript is None:
            raise self.error or ShrotaError("this result has neither a transcript nor an error")
        return self.transcript


def check_concurrency(concurrency: int) -> int:
    """The number of requests on their way at once.

    Raises:
        ParameterError: it is not positive.
    """
    if concurrency < 1:
        raise ParameterError(f"concurrency must be at least 1, not {concurrency}")
    return concurrency


class _Line(Generic[Started]):
    """Items that were started and wait to be taken, in order; what both clients share of keeping it."""

    def __init__(self, items: Iterable[Item], start: Callable[[Item], Started], concurrency: int) -> None:
        self._started: Iterator[Started] = map(start, items)
        self._exhausted = False
        self._concurrency = concurrency
        self.waiting: deque[Started] = deque()
        self.running: list[Started] = []

    def advance(self) -> bool:
        """Starts as many as may run; False when none is left to wait for."""
        self.running = [each for each in self.waiting if not each.done()]
        while not self._exhausted and len(self.running) < self._concurrency and len(self.waiting) < MAX_FINISHED:
            for each in self._started:
                self.running.append(each)
                self.waiting.append(each)
                break
            else:
                self._exhausted = True
        return bool(self.waiting)


def in_order(call: Callable[[Item], Answer], items: Iterable[Item], concurrency: int) -> Iterator[Answer]:
    """``map(call, items)`` in threads: ``items`` is read only as far as there is work for it."""
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="shrota")
    line = _Line(items, lambda item: executor.submit(call, item), concurrency)
    try:
        while line.advance():
            if line.waiting[0].done():
                yield line.waiting.popleft().result()
            else:
                wait(line.running, return_when=FIRST_COMPLETED)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def in_order_async(
    call: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], concurrency: int
) -> AsyncGenerator[Answer]:
    """As :func:`in_order`, in tasks of the running event loop."""
    line = _Line(items, lambda item: asyncio.ensure_future(call(item)), concurrency)
    try:
        while line.advance():
            if line.waiting[0].done():
                yield line.waiting.popleft().result()
            else:
                await asyncio.wait(line.running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in line.waiting:
            task.cancel()
        await asyncio.gather(*line.waiting, return_exceptions=True)
