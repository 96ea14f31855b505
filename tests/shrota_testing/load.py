"""A load of many callers in the background, each of whose answers is known before it is asked for."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shrota_client import Client, Retry, Timeouts
from shrota_server import TritonServer
from shrota_testing.triton import wait_until
from shrota_testing.utterances import expected_text, noise

CALLERS = 12
UTTERANCES = 5
"""That each caller asks for in turn; nobody else does."""
REQUEST_S = 20.0
PAUSE_S = 0.05
"""What a caller waits after an error, so that one without a server does not take the processor."""


@dataclass(frozen=True)
class Utterance:
    """Audio [samples], and the transcript that must come out."""

    audio: NDArray[np.float32] = field(repr=False)
    text: str


@cache
def utterances() -> list[Utterance]:
    """Of all callers: from 0.6 to 6.5 s, each of another length and with another transcript."""
    audios = [noise(0.6 + 0.1 * number, number) for number in range(CALLERS * UTTERANCES)]
    made = [Utterance(audio, expected_text(audio)) for audio in audios]
    assert len({each.text for each in made}) == len(made)
    return made


def addresses(server: TritonServer) -> list[str]:
    """Of both protocols."""
    return [f"grpc://{server.grpc_url}", f"http://{server.http_url}"]


@dataclass(frozen=True)
class Outcome:
    """What became of a request: a transcript or an error. Times are those of ``time.monotonic``."""

    utterance: Utterance
    sent_at: float
    ended_at: float
    text: str | None = None
    error: Exception | None = None


class Load:
    """Callers of both protocols, each with a client of its own, who ask again as soon as they have been answered.

    They begin and end with the ``with`` statement. Nothing is sent a second time: what a request meets is seen.
    """

    def __init__(self, server: TritonServer) -> None:
        self._outcomes: list[list[Outcome]] = [[] for _ in range(CALLERS)]
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(address, number), name=f"caller-{number}")
            for number, address in zip(range(CALLERS), cycle(addresses(server)), strict=False)
        ]

    def __enter__(self) -> Self:
        utterances()  # not while the callers wait
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self, address: str, number: int) -> None:
        with Client(address, timeouts=Timeouts(request_s=REQUEST_S), retry=Retry(attempts=1)) as client:
            for utterance in cycle(utterances()[number::CALLERS]):
                if self._ending.is_set():
                    return
                outcome = _ask(client, utterance)
                self._outcomes[number].append(outcome)
                if outcome.error is not None:
                    self._ending.wait(PAUSE_S)

    def outcomes(self) -> Iterator[Outcome]:
        """All there are by now, caller by caller."""
        for each in self._outcomes:
            yield from list(each)

    def errors(self) -> list[Exception]:
        """Of the requests that were not answered."""
        return [outcome.error for outcome in self.outcomes() if outcome.error is not None]

    def mixed_up(self) -> list[Outcome]:
        """Answers with a text that is not that of the utterance."""
        answered = [outcome for outcome in self.outcomes() if outcome.error is None]
        return [outcome for outcome in answered if outcome.text != outcome.utterance.text]

    def longest_s(self) -> float:
        """Of the seconds from sending a request to its answer or error."""
        return max(outcome.ended_at - outcome.sent_at for outcome in self.outcomes())

    def served_at(self, since: float) -> float | None:
        """When service was back for the last of the callers; None while there is one for whom it is not.

        It is with the end of a caller's first request, of those sent since then, that no error followed.
        """
        moments = []
        for each in self._outcomes:
            calm: Outcome | None = None
            for outcome in reversed(each):
                if outcome.error is not None or outcome.sent_at < since:
                    break
                calm = outcome
            if calm is None:
                return None
            moments.append(calm.ended_at)
        return max(moments)

    def wait_served(self, since: float, timeout_s: float, calm_s: float = 0.0) -> bool:
        """Whether within the time all callers are served what they sent since then, and have been for ``calm_s``."""

        def served() -> bool:
            moment = self.served_at(since)
            return moment is not None and time.monotonic() - moment >= calm_s

        return wait_until(served, timeout_s)


def _ask(client: Client, utterance: Utterance) -> Outcome:
    sent_at = time.monotonic()
    try:
        text = client.transcribe(utterance.audio).text
    except Exception as error:  # noqa: BLE001 - whatever it is, the test is to see it
        return Outcome(utterance, sent_at, time.monotonic(), error=error)
    return Outcome(utterance, sent_at, time.monotonic(), text)


def timed_round(address: str) -> float:
    """Asks once for every utterance, several at a time; the seconds it took. Fails unless all are answered rightly."""
    begin = time.monotonic()
    with Client(address, timeouts=Timeouts(request_s=REQUEST_S), retry=Retry(attempts=1)) as client:
        results = list(client.transcribe_many([each.audio for each in utterances()], concurrency=CALLERS))
    assert [result.unwrap().text for result in results] == [each.text for each in utterances()]
    return time.monotonic() - begin
