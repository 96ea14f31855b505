"""Many utterances at once: what became of each, in the order in which they were given."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from shrota_client.errors import ParameterError, ShrotaError
from shrota_client.exchange import Audio
from shrota_client.transcript import Transcript

Item = TypeVar("Item")
Answer = TypeVar("Answer")

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


def in_order(call: Callable[[Item], Answer], items: Iterable[Item], concurrency: int) -> Iterator[Answer]:
    """``map(call, items)`` in threads: ``items`` is read only as far as there is work for it."""
    source, exhausted = iter(items), False
    waiting: deque[Future[Answer]] = deque()
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="shrota")
    try:
        while True:
            running = [future for future in waiting if not future.done()]
            while not exhausted and len(running) < concurrency and len(waiting) < MAX_FINISHED:
                for item in source:
                    running.append(executor.submit(call, item))
                    waiting.append(running[-1])
                    break
                else:
                    exhausted = True
            if not waiting:
                return
            if waiting[0].done():
                yield waiting.popleft().result()
            else:
                wait(running, return_when=FIRST_COMPLETED)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def in_order_async(
    call: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], concurrency: int
) -> AsyncGenerator[Answer]:
    """As :func:`in_order`, in tasks of the running event loop."""
    source, exhausted = iter(items), False
    waiting: deque[asyncio.Future[Answer]] = deque()
    try:
        while True:
            running = [future for future in waiting if not future.done()]
            while not exhausted and len(running) < concurrency and len(waiting) < MAX_FINISHED:
                for item in source:
                    running.append(asyncio.ensure_future(call(item)))
                    waiting.append(running[-1])
                    break
                else:
                    exhausted = True
            if not waiting:
                return
            if waiting[0].done():
                yield waiting.popleft().result()
            else:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
