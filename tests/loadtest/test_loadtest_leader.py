"""A whole search for the highest rate, against a simulated server of known capacity and with a simulated clock."""

import heapq
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from shrota_client.errors import QueueFullError
from shrota_loadtest.leader import Leader
from shrota_loadtest.recorder import Recorder, Ticket
from shrota_loadtest.settings import SEARCH, STAGES, STREAMS, Settings
from shrota_loadtest.stages import DRAIN, IDLE, Stage, stages_to_json
from shrota_loadtest.workload import Clip

CLIPS = [Clip("a", np.zeros(32000, np.float32), None), Clip("b", np.zeros(64000, np.float32), "एक दो")]


@dataclass
class Simulation:
    """One server that does one request after the other, in ``service_s`` each, and arrivals at random.

    Attributes:
        settings: of the load test.
        service_s: of one request.
        queue_size: requests that may wait; more are refused.
        text_from: rate of arrivals from which it gives another transcript; a server must not.
    """

    settings: Settings
    service_s: float = 0.1
    queue_size: int = 10**9
    text_from: float = float("inf")
    now: float = 0.0
    free_at: float = 0.0
    events: list[tuple[float, int, Ticket]] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.recorder = Recorder(self.settings.bound, lambda: self.now, lambda: 0.5 * self.now)
        self.leader = Leader(self.settings, CLIPS, self.announce, lambda: self.now)

    def announce(self, step: int, phase: str) -> None:
        """As Locust's message."""
        self.recorder.enter(step, phase)
        self.leader.collector.add("sender", self.recorder.report())

    def alone(self, clip: Clip) -> str:
        """A request when there is no other."""
        self.now += self.service_s
        return clip.name

    def run(self) -> dict[str, Any]:
        """To the end; the results."""
        self.leader.take_alone(self.alone)
        while (users := self.leader.tick()) is not None:
            self.second(self.settings.load_of(users) if users else 0.0)
            self.leader.collector.add("sender", self.recorder.report())
        results = self.leader.finish(0, lambda _: None)
        assert results is not None
        return results

    def second(self, load: float) -> None:
        """One second of this load."""
        end = self.now + 1.0
        rate = load / 3.0 if self.settings.kind == STREAMS else load
        arrivals = self.now + np.cumsum(self.random.exponential(1 / rate, 4 * int(rate) + 50)) if rate else np.array([])
        for moment in arrivals[arrivals < end]:
            self.until(float(moment))
            if self.recorder.phase not in {DRAIN, IDLE}:
                self.arrive(rate)
        self.until(end)

    def arrive(self, rate: float) -> None:
        """One request, now."""
        self.count += 1
        ticket = self.recorder.begin(self.count % 2, self.now)
        if len(self.events) > self.queue_size:
            self.recorder.end(ticket, None, QueueFullError("full"))
            return
        self.free_at = max(self.free_at, self.now) + self.service_s
        heapq.heappush(self.events, (self.free_at, self.count if rate < self.text_from else -self.count, ticket))

    def until(self, moment: float) -> None:
        """Lets time pass, and answers come."""
        while self.events and self.events[0][0] <= moment:
            self.now, count, ticket = heapq.heappop(self.events)
            self.recorder.end(ticket, CLIPS[ticket.clip].name if count > 0 else "other")
        self.now = moment


SETTINGS = Settings(
    shape=SEARCH, stages=stages_to_json([Stage(1.0, 3.0, 600.0)]), start=2.0, precision=0.05, request_timeout=500.0
)


def test_a_search_finds_the_rate_of_a_known_server() -> None:
    """With 0.1 s each, 95 % of the waits stay under a second up to about nine tenths of the capacity of 10 a second.

    Of M/D/1 the wait's tail is about exp(-2 (1 - rho) t / (rho s)): 0.05 at t = 0.9 s gives rho = 0.86.
    """
    results = Simulation(SETTINGS).run()
    assert 8.0 <= results["best"] < 10.0
    assert results["best"] < results["too_much"] <= 10.5
    assert results["confirmed"] is True
    for step in results["steps"]:
        assert step["good"] == (step["latency_s"]["p95"] <= 1.0)
        assert step["unanswered"] == 0
        assert step["transcripts"]["different"] == 0
        if not step["ended_early"]:
            assert step["arrival_rate"] == pytest.approx(step["load"], rel=0.15)
            assert step["generator_cores"] == pytest.approx(0.5, rel=0.02)
    best = max((step for step in results["steps"] if step["good"]), key=lambda step: step["load"])
    # utterances of 2 and 4 s by turns
    assert best["audio_seconds_per_second"] == pytest.approx(3 * best["answer_rate"], rel=0.02)
    assert best["answer_rate"] == pytest.approx(results["best"], rel=0.1)


def test_without_a_start_it_is_half_of_what_one_by_one_gives() -> None:
    results = Simulation(replace(SETTINGS, start=0.0)).run()
    assert results["steps"][0]["load"] == 5.0
    assert results["alone"] == [
        {"bucket": "2-5 s", "requests": 2, "mean_latency_s": pytest.approx(0.1)},
    ]


def test_streams_are_counted_in_whole_ones() -> None:
    """A stream of utterances of 3 s makes a third of a request a second."""
    results = Simulation(replace(SETTINGS, kind=STREAMS, start=6.0)).run()
    assert results["unit"] == "streams"
    assert results["best"] == int(results["best"])
    assert 24 <= results["best"] < 30


def test_a_refused_request_ends_a_step_and_the_search_stays_below() -> None:
    results = Simulation(SETTINGS, queue_size=3).run()
    assert results["best"] < 8.0  # with so short a queue, random arrivals find it full long before the latency is high
    failed = [step for step in results["steps"] if not step["good"]]
    assert all(step["failed"] > 0 and "failed" in step["why_not"] for step in failed)


def test_other_transcripts_are_not_carried() -> None:
    results = Simulation(SETTINGS, text_from=6.0).run()
    assert 5.0 < results["best"] < 6.0
    wrong = next(step for step in results["steps"] if not step["good"])
    assert wrong["why_not"].endswith("transcripts other than alone")
    assert wrong["transcripts"]["word_error_rate"] == 1.0


def test_a_search_keeps_its_time() -> None:
    simulation = Simulation(replace(SETTINGS, minutes=50.0))
    simulation.run()
    assert 2400 < simulation.now < 3100


def test_an_overload_that_is_not_waited_for_still_has_all_its_answers() -> None:
    stages = [Stage(5.0, 0.0, 10.0), Stage(20.0, 0.0, 30.0, pause_s=10.0), Stage(1.0, 0.0, 20.0)]
    results = Simulation(replace(SETTINGS, shape=STAGES, stages=stages_to_json(stages))).run()
    overload, after = results["steps"][1:]
    assert overload["requests"] == overload["answered"] == pytest.approx(600, rel=0.1)
    # 600 requests need 60 s; the last arrived after 30
    assert overload["latency_s"]["max"] == pytest.approx(30, rel=0.15)
    assert after["latency_s"]["p50"] > 1.0
    assert overload["answer_rate"] == pytest.approx(10.0, rel=0.02)
