"""The part of a load test that leads: transcripts alone, the programme of stages, the results."""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from shrota_loadtest.collector import Collector
from shrota_loadtest.counters import Counters
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.search import Search
from shrota_loadtest.settings import CLOSED, OPEN, SEARCH, UNITS, Settings
from shrota_loadtest.stages import (
    DRAIN,
    MEASURE,
    Conductor,
    Done,
    Found,
    Given,
    Programme,
    Stage,
    stages_from_json,
)
from shrota_loadtest.summary import Summary, bucket_of, expected_requests, is_hopeless
from shrota_loadtest.transcripts import Alone, Transcribes, take_alone
from shrota_loadtest.workload import Clip

GRACE_S = 5.0
"""How much longer than a request's time-out the end of a stage waits for reports."""

PRIVATE = ("results", "output", "stages")
"""Settings that are about the files of a run, or that the steps say better."""

logger = logging.getLogger("shrota")


class Leader:
    """Leads one test.

    Args:
        settings: of the test.
        clips: what is sent.
        announce: tells all senders a step and its phase.
    """

    def __init__(
        self,
        settings: Settings,
        clips: list[Clip],
        announce: Callable[[int, str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clips = clips
        self._send = announce
        self._clock = clock
        self._began_s = clock()
        self._alone: list[Alone] = []
        self._counters: dict[tuple[int, str], Counters] = {}
        self._moments: dict[tuple[int, str], float] = {}
        self._found: Found | None = None
        self._conductor: Conductor | None = None
        self._finished = False
        self._open_since: float | None = None
        self.name = uuid.uuid4().hex  # of this test: a worker may still report of the last one
        self.collector = Collector()
        self._done: list[Done] = []

    def take_alone(self, transcribe: Transcribes) -> None:
        """The transcripts with which those under load are compared.

        Raises:
            ShrotaError: the server cannot be reached, or refuses an utterance.
        """
        if self._settings.metrics:
            Counters.read(self._settings.metrics)  # whoever named them wants them: not after minutes of load
        self._alone = take_alone(self._clips, transcribe, self._clock)
        seconds = sum(clip.seconds for clip in self._clips)
        taken = sum(each.latency_s for each in self._alone)
        logger.info("alone: %d utterances, %.0f s of audio in %.1f s", len(self._clips), seconds, taken)

    def tick(self) -> int | None:
        """The number of Locust's users from now on; None at the end. The first call plans the stages."""
        if self._conductor is None:
            self._conductor = Conductor(
                self._programme(),
                self._announce,
                is_quiet=self.collector.is_quiet,
                is_hopeless=self._is_hopeless,
                judge=self._judge,
                drain_most_s=self._settings.request_timeout + GRACE_S,
            )
        load = self._conductor.tick(self._clock())
        return None if load is None else self._settings.users(load)

    def begin_open_end(self) -> None:
        """One step, which lasts until the test is stopped: for Locust's own options and its web page."""
        self._open_since = self._clock()
        self._announce(1, MEASURE)

    def finish(self, users: int, sleep: Callable[[float], object]) -> dict[str, Any] | None:
        """The results; ends a step that is open, with the number of its users. None if there is nothing to end."""
        if self._finished or not self._alone:
            return None
        self._finished = True
        if self._open_since is not None:
            measured_s = self._clock() - self._open_since
            self._announce(1, DRAIN)
            drained_from_s = self._clock()
            limit_s = self._settings.request_timeout + GRACE_S
            while not self.collector.is_quiet(1) and self._clock() - drained_from_s < limit_s:
                sleep(0.1)
            stage = Stage(self._settings.load_of(max(1, users)), 0.0, measured_s, name="as Locust was told")
            self._judge(Done(1, stage, measured_s, self._clock() - drained_from_s, ended_early=False))
        return self._results()

    def _programme(self) -> Programme:
        settings = self._settings
        if settings.shape != SEARCH:
            return Given(stages_from_json(settings.stages))
        start = settings.start or 0.5 * self._load_alone()
        stage = stages_from_json(settings.stages)[0] if settings.stages else Stage(start)
        limit_s = 60 * settings.minutes or float("inf")
        self._found = Found(
            Search(start, precision=settings.precision, quantum=settings.quantum),
            stage,
            self._rate_of_load() or 1 / self._mean_latency(),
            seconds_left=lambda: limit_s - (self._clock() - self._began_s),
        )
        return self._found

    def _mean_latency(self) -> float:
        return sum(each.latency_s for each in self._alone) / len(self._alone)

    def _mean_seconds(self) -> float:
        return sum(clip.seconds for clip in self._clips) / len(self._clips)

    def _load_alone(self) -> float:
        """The load that the server would carry if it did one request after the other."""
        if self._settings.kind == CLOSED:
            return 1.0
        return 1 / self._mean_latency() / (self._rate_of_load() or 1.0)

    def _rate_of_load(self) -> float | None:
        """Requests a second that a load of one makes; None where that is the server's to decide."""
        if self._settings.kind == CLOSED:
            return None
        return 1.0 if self._settings.kind == OPEN else 1 / self._mean_seconds()

    def _announce(self, step: int, phase: str) -> None:
        self._send(step, phase)
        if phase in {MEASURE, DRAIN}:
            self._moments[step, phase] = time.time()
            if self._settings.metrics:
                try:
                    self._counters[step, phase] = Counters.read(self._settings.metrics)
                except LoadTestError as error:  # under overload the page may be late; the load goes on
                    logger.warning("%s", error)

    def _is_hopeless(self, step: int, stage: Stage) -> bool:
        if self._settings.shape != SEARCH:
            return False
        rate = self._rate_of_load()
        expected = float("inf") if rate is None else expected_requests(stage, rate)
        return is_hopeless(self.collector, step, expected, self._settings.bound)

    def _figures(self, done: Done) -> dict[str, Any]:
        settings = self._settings
        summary = Summary(self._clips, self._alone, settings.bound, settings.word_errors, self._rate_of_load())
        figures = summary.step(done, self.collector)
        before, after = (self._counters.get((done.step, phase)) for phase in (MEASURE, DRAIN))
        figures["triton"] = before.until(after) if before and after else None
        figures["began"], figures["ended"] = (self._moments.get((done.step, phase)) for phase in (MEASURE, DRAIN))
        return figures

    def _judge(self, done: Done) -> bool:
        self._done.append(done)
        figures = self._figures(done)
        late = figures["latency_s"]["p95"]
        logger.info(
            "step %d: %s %s, %d requests, p95 %s, %.1f s of audio a second: %s",
            done.step,
            f"{done.stage.load:g}",
            UNITS[self._settings.kind],
            figures["requests"],
            "-" if late is None else f"{late:.3f} s",
            figures["audio_seconds_per_second"],
            "carried" if figures["good"] else figures["why_not"],
        )
        return bool(figures["good"])

    def _results(self) -> dict[str, Any]:
        return {
            "kind": self._settings.kind,
            "unit": UNITS[self._settings.kind],
            "shape": self._settings.shape,
            "settings": {name: value for name, value in vars(self._settings).items() if name not in PRIVATE},
            "best": None if self._found is None else self._found.search.best,
            "too_much": None if self._found is None else self._found.search.too_much,
            "confirmed": None if self._found is None else self._found.confirmed,
            "workload": {
                "clips": len(self._clips),
                "audio_s": sum(clip.seconds for clip in self._clips),
                "mean_s": self._mean_seconds(),
                "shortest_s": min(clip.seconds for clip in self._clips),
                "longest_s": max(clip.seconds for clip in self._clips),
            },
            "alone": self._alone_by_bucket(),
            # anew: of a stage that was not waited for, the rest has come since
            "steps": [self._figures(done) for done in self._done],
        }

    def _alone_by_bucket(self) -> list[dict[str, Any]]:
        by_name: dict[str, list[float]] = {}
        for clip, alone in sorted(zip(self._clips, self._alone, strict=True), key=lambda pair: pair[0].seconds):
            by_name.setdefault(bucket_of(clip.seconds), []).append(alone.latency_s)
        return [
            {"bucket": name, "requests": len(found), "mean_latency_s": sum(found) / len(found)}
            for name, found in by_name.items()
        ]
