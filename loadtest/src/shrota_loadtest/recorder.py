"""What became of each request, in the process that sent it; reports of it go to the one that leads the test.

A report is what MessagePack carries: texts and kinds of error are sent once, and rows refer to them by their number.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shrota_client.failures import one_line
from shrota_loadtest.stages import IDLE, MEASURE

MOST_KINDS = 50
"""Kinds of error that are told apart; more are one more kind, so that messages with numbers in them fill no memory."""
OTHER_KINDS = "other errors, see the first ones"


@dataclass
class Ticket:
    """A request on its way; times are seconds of the recorder's clock.

    Attributes:
        clip: number of the utterance.
        step: of the load test, when it arrived.
        is_measured: whether it arrived within the measured time.
        planned: when it should have been sent.
        sent: when it was; who waits for a free connection first moves it.
    """

    clip: int
    step: int
    is_measured: bool
    planned: float
    sent: float


class Recorder:
    """Keeps what happens in this process until :meth:`report` takes it away.

    Args:
        bound_s: the latency bound; what is on its way for longer is late.
        clock: seconds.
        processor_clock: seconds of processor time of this process.
    """

    def __init__(
        self,
        bound_s: float,
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.step = 0
        self.phase = IDLE
        self._bound_s = bound_s
        self._clock = clock
        self._processor_clock = processor_clock
        self._flying: dict[int, Ticket] = {}
        self._arrived: dict[int, int] = {}
        self._rows: list[list[float]] = []
        self._texts: dict[tuple[int, str], int] = {}
        self._kinds: dict[str, int] = {}
        self._new_texts: list[list[Any]] = []
        self._new_kinds: list[str] = []

    def enter(self, step: int, phase: str) -> None:
        """A phase begins."""
        self.step, self.phase = step, phase

    def begin(self, clip: int, planned: float) -> Ticket:
        """A request is being sent."""
        is_measured = self.phase == MEASURE
        ticket = Ticket(clip, self.step, is_measured, planned, self._clock())
        self._flying[id(ticket)] = ticket
        if is_measured:
            self._arrived[self.step] = self._arrived.get(self.step, 0) + 1
        return ticket

    def end(self, ticket: Ticket, text: str | None, error: Exception | None = None) -> float:
        """It was answered with a text, or failed; seconds since the moment for which it was planned."""
        latency_s = self._clock() - ticket.planned
        del self._flying[id(ticket)]
        in_window = self.phase == MEASURE and self.step == ticket.step
        self._rows.append(
            [
                ticket.step,
                ticket.is_measured,
                in_window,
                ticket.clip,
                latency_s,
                ticket.sent - ticket.planned,
                -1 if text is None else self._text(ticket.clip, text),
                -1 if error is None else self._kind(error),
            ]
        )
        return latency_s

    def report(self) -> dict[str, Any]:
        """What happened since the last report, and how things stand."""
        now = self._clock()
        late = sum(
            each.is_measured and each.step == self.step and now - each.planned > self._bound_s
            for each in self._flying.values()
        )
        report = {
            "step": self.step,
            "phase": self.phase,
            "rows": self._rows,
            "texts": self._new_texts,
            "kinds": self._new_kinds,
            "arrived": [[step, count] for step, count in self._arrived.items()],
            "flying": len(self._flying),
            "late": late,
            "processor_s": self._processor_clock(),
        }
        self._rows, self._new_texts, self._new_kinds = [], [], []
        return report

    def _text(self, clip: int, text: str) -> int:
        key = (clip, text)
        if key not in self._texts:
            self._texts[key] = len(self._texts)
            self._new_texts.append([clip, text])
        return self._texts[key]

    def _kind(self, error: Exception) -> int:
        kind = f"{type(error).__name__}: {one_line(str(error))}"
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = OTHER_KINDS
        if kind not in self._kinds:
            self._kinds[kind] = len(self._kinds)
            self._new_kinds.append(kind)
        return self._kinds[kind]
