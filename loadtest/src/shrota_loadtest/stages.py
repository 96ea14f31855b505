"""The course of a load test: stages of a load each, one after the other, given or found by a search."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np

from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.search import Search

IDLE, SETTLE, MEASURE, DRAIN = "idle", "settle", "measure", "drain"
"""Phases of a stage: the load has begun and is not counted yet; what arrives is counted; nothing arrives any more."""

AGAIN, AGAIN_TIMES = "again", 3.0
"""Name of the stage that measures what a search found once more, and how much longer it is."""


@dataclass(frozen=True)
class Stage:
    """One load.

    Attributes:
        load: requests a second, users or streams.
        settle_s: seconds of the load before what arrives is counted.
        measure_s: seconds in which what arrives is counted.
        pause_s: seconds without arrivals after that; None waits until every request has its answer.
        name: on the page.
    """

    load: float
    settle_s: float = 3.0
    measure_s: float = 20.0
    pause_s: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        numbers = (self.load, self.settle_s, self.measure_s, self.pause_s or 0)
        if not (all(math.isfinite(each) and each >= 0 for each in numbers) and self.load > 0 and self.measure_s > 0):
            raise LoadTestError(f"{self} is no stage: its load and its measured time must be positive, and finite")


class Programme(Protocol):
    """Which stage comes next."""

    def next(self) -> Stage | None:
        """The next one; None at the end."""

    def tell(self, stage: Stage, good: bool) -> None:
        """Whether the server carried it."""


@dataclass
class Given:
    """Stages that are known beforehand."""

    stages: Sequence[Stage]
    _next: int = 0

    def next(self) -> Stage | None:
        """See :meth:`Programme.next`."""
        self._next += 1
        return self.stages[self._next - 1] if self._next <= len(self.stages) else None

    def tell(self, stage: Stage, good: bool) -> None:
        """Changes nothing."""


@dataclass
class Found:
    """Stages of a search; what it finds is measured once more, for longer, and must be carried again.

    Attributes:
        search: for the load.
        stage: settling and measured time of each.
        rate_of_load: requests a second that a load of one makes.
        least_requests: a stage is measured up to four times as long if its load is too small for so many.
        seconds_left: none is begun that would not end in this time; the repeat goes before a further half.
    """

    search: Search
    stage: Stage
    rate_of_load: float = 1.0
    least_requests: float = 40.0
    seconds_left: Callable[[], float] = field(default=lambda: float("inf"))
    _confirmed: float | None = None

    def next(self) -> Stage | None:
        """See :meth:`Programme.next`."""
        if self.confirmed:
            return None
        load, best, left_s = self.search.next(), self.search.best, self.seconds_left()
        step = None if load is None else self._stage(load, self.stage.name, 1.0)
        again = None if best is None else self._stage(best, AGAIN, AGAIN_TIMES)
        if step is None:
            return again if again is not None and _seconds(again) <= left_s else None
        # a search that only climbs has not found anything yet; between two loads, the repeat comes before another half
        needs_s = _seconds(step) + (_seconds(again) if again is not None and self.search.too_much is not None else 0.0)
        if again is not None and _seconds(again) <= left_s < needs_s:
            return again
        return step if _seconds(step) <= left_s else None

    @property
    def confirmed(self) -> bool:
        """Whether the highest load that was carried was measured once more, and was carried again."""
        return self.search.best is not None and self.search.best == self._confirmed

    def _stage(self, load: float, name: str, times: float) -> Stage:
        wanted_s = self.least_requests / (load * self.rate_of_load)
        measure_s = times * min(max(self.stage.measure_s, wanted_s), 4 * self.stage.measure_s)
        return Stage(load, self.stage.settle_s, measure_s, None, name)

    def tell(self, stage: Stage, good: bool) -> None:
        """See :meth:`Programme.tell`."""
        self.search.tell(stage.load, good)
        if good and stage.name == AGAIN:
            self._confirmed = stage.load


def _seconds(stage: Stage) -> float:
    return stage.settle_s + stage.measure_s


def stages_to_json(stages: Sequence[Stage]) -> str:
    """For a command line."""
    return json.dumps([asdict(stage) for stage in stages])


def stages_from_json(text: str) -> list[Stage]:
    """The stages of :func:`stages_to_json`; only ``load`` must be there.

    Raises:
        LoadTestError: the text describes no stages.
    """
    try:
        stages = [Stage(**fields) for fields in json.loads(text)]
    except (ValueError, TypeError) as error:
        example = '[{"load": 2, "settle_s": 3, "measure_s": 20}]'
        raise LoadTestError(f"these are no stages ({error}): write {example}") from error
    if not stages:
        raise LoadTestError("a load test needs at least one stage")
    return stages


def loads_of(loads: str | None, ramp: str | None) -> list[float]:
    """Loads as ``A,B,C`` or as ``FROM:TO:COUNT``, one of which must be given.

    Raises:
        LoadTestError: it is none of these.
    """
    if (loads is None) == (ramp is None):
        raise LoadTestError("give the loads with --loads 1,2,4 or with --ramp 1:8:8, one of the two")
    try:
        if loads is not None:
            return [float(load) for load in loads.split(",")]
        low, high, count = str(ramp).split(":")
        return [float(load) for load in np.linspace(float(low), float(high), int(count))]
    except ValueError as error:
        raise LoadTestError(f"{loads or ramp!r} are no loads: write --loads 1,2,4 or --ramp 1:8:8") from error


@dataclass(frozen=True)
class Done:
    """A stage that is over.

    Attributes:
        step: its number, from 1.
        stage: what was planned.
        measured_s: seconds in which arrivals were counted.
        drained_s: seconds from then on until the next stage may begin.
        ended_early: it was clear before the time was over that the server does not carry it.
    """

    step: int
    stage: Stage
    measured_s: float
    drained_s: float
    ended_early: bool


class Conductor:
    """Leads through a programme; told the time often, it says which load there must be.

    Args:
        programme: the stages.
        announce: called with step and phase when one begins.
        is_quiet: whether every request of a step has ended; asked while nothing arrives.
        is_hopeless: whether a step that is being measured cannot become good any more.
        judge: called when a stage is over; whether the server carried it.
        drain_most_s: after so long without arrivals a stage is over, whatever is still missing.
        least_s: a hopeless stage is measured so long all the same, or as long as planned.
    """

    def __init__(
        self,
        programme: Programme,
        announce: Callable[[int, str], object],
        *,
        is_quiet: Callable[[int], bool],
        is_hopeless: Callable[[int, Stage], bool],
        judge: Callable[[Done], bool],
        drain_most_s: float,
        least_s: float = 8.0,
    ) -> None:
        self._programme = programme
        self._announce = announce
        self._is_quiet = is_quiet
        self._is_hopeless = is_hopeless
        self._judge = judge
        self._drain_most_s = drain_most_s
        self._least_s = least_s
        self._step = 0
        self._stage: Stage | None = None
        self._phase = IDLE
        self._since = 0.0
        self._measured_s = 0.0
        self._ended_early = False

    def tick(self, now: float) -> float | None:
        """The load from ``now`` on, in seconds of any clock; None when the programme is over."""
        if self._phase == DRAIN:
            self._drain(now)
        if self._phase == IDLE:
            self._stage = self._programme.next()
            if self._stage is None:
                return None
            self._step += 1
            self._enter(SETTLE, now)
        assert self._stage is not None  # noqa: S101 - set with the phase
        if self._phase == SETTLE and now - self._since >= self._stage.settle_s:
            self._enter(MEASURE, now)
        elif self._phase == MEASURE:
            self._measure(self._stage, now)
        return 0.0 if self._phase == DRAIN else self._stage.load

    def _enter(self, phase: str, now: float) -> None:
        self._phase, self._since = phase, now
        self._announce(self._step, phase)

    def _measure(self, stage: Stage, now: float) -> None:
        self._measured_s = now - self._since
        self._ended_early = self._measured_s >= self._least_s and self._is_hopeless(self._step, stage)
        if self._measured_s >= stage.measure_s:
            self._ended_early = False
        elif not self._ended_early:
            return
        self._enter(DRAIN, now)

    def _drain(self, now: float) -> None:
        stage, passed_s = self._stage, now - self._since
        assert stage is not None  # noqa: S101 - set with the phase
        if passed_s < self._drain_most_s:
            if stage.pause_s is None and not self._is_quiet(self._step):
                return
            if stage.pause_s is not None and passed_s < stage.pause_s:
                return
        self._phase = IDLE
        good = self._judge(Done(self._step, stage, self._measured_s, passed_s, self._ended_early))
        self._programme.tell(stage, good)
