"""Who cannot be answered in time is refused at once; who can is not, whatever else waits."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from shrota_acoustic.errors import UnavailableError
from shrota_acoustic.intake import Intake
from shrota_acoustic.pace import LEAST_BATCHES, Pace
from shrota_acoustic.scheduler import Scheduler
from shrota_client.address import Address
from shrota_client.errors import QueueFullError
from shrota_client.failures import Failure, error_of
from shrota_testing.acoustic import FRONTEND, Counts, FakeEngine, FakeRequest, make_settings
from shrota_testing.triton import wait_until

BATCH_S = 1.0
"""Of the fake clock. A batch holds two requests of 2 s, so the engine runs 4 s of audio a second."""


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros((1, round(seconds * FRONTEND.sample_rate)), np.float32)


class Clock(threading.Event):
    """A gate of the fake engine: each batch waits until it is let through, and takes a second of a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._passes = threading.Semaphore(0)

    def let_through(self, batches: int) -> None:
        """Lets so many more batches through."""
        self._passes.release(batches)

    def set(self) -> None:
        """Opens the gate for good."""
        self._passes.release(1_000_000)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for a pass, and uses it up."""
        passed = self._passes.acquire(timeout=timeout)
        self.now += BATCH_S
        return passed


class Crowd:
    """A scheduler with forty requests of 2 s before it."""

    def __init__(self, **parameters: str) -> None:
        self.clock, self.counts = Clock(), Counts()
        self.engine = FakeEngine(self.clock)
        self._let_through = 0
        settings = make_settings(**parameters)
        self.scheduler = Scheduler(settings, self.engine, self.counts, clock=lambda: self.clock.now)
        self.intake = Intake(settings, self.scheduler)
        self.requests = [self.send(2) for _ in range(40)]

    def send(self, seconds: float, timeout_s: float | None = None) -> FakeRequest:
        """Sends a request."""
        request = FakeRequest(silence(seconds), '{"sample_rate": 1000}', timeout_s)
        self.intake.take(request, self.clock.now)
        return request

    def run(self, batches: int) -> None:
        """Lets so many batches through, and waits until their requests have been answered."""
        self.clock.let_through(batches)
        self._let_through += batches
        answered = 2 * self._let_through
        assert wait_until(lambda: sum(each.done.is_set() for each in self.requests) >= answered, 10)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    found = Crowd()
    found.scheduler.start()
    yield found
    found.clock.set()
    found.scheduler.stop()


def test_nobody_is_refused_before_the_engine_is_known(crowd: Crowd) -> None:
    assert not crowd.send(2, timeout_s=0.5).done.is_set()


def test_who_cannot_be_answered_within_its_time_out_is_refused_at_once(crowd: Crowd) -> None:
    crowd.run(6)  # 28 requests of 2 s are left, of which 2 are in the engine: 14 s of work
    refused = crowd.send(2, timeout_s=10)
    assert refused.done.is_set()
    assert isinstance(refused.error, UnavailableError)
    assert str(refused.error) == "there is more work than can be done in time, 14 s of it: try again later"
    assert crowd.counts.dropped_codes == ["UNAVAILABLE"]
    assert not crowd.send(2, timeout_s=40).done.is_set()
    assert not crowd.send(2).done.is_set()


def test_a_file_needs_its_own_time_too(crowd: Crowd) -> None:
    crowd.run(6)
    # beside a file each of the others gets all that it needs, 56 s, which may come once more and overtake it; with the
    # file's own 40 s that is 38 s of work
    assert crowd.send(40, timeout_s=46).done.is_set()
    assert not crowd.send(40, timeout_s=49).done.is_set()


def test_what_may_overtake_ends_at_the_horizon(crowd: Crowd) -> None:
    crowd.run(6)
    file = crowd.send(90)
    assert not file.done.is_set()
    # of the file as much as of this one runs before it, 146 s in all; sixteen batches, 64 s, may overtake: 75 s of work
    assert crowd.send(90, timeout_s=93).done.is_set()
    assert not crowd.send(90, timeout_s=95).done.is_set()


def test_a_file_that_waits_keeps_no_short_request_out() -> None:
    crowd = Crowd(max_wait_seconds="5")
    file = crowd.send(90)
    crowd.scheduler.start()
    try:
        crowd.run(18)
        assert not file.done.is_set()
        assert wait_until(lambda: len(crowd.engine.batches) == 18, 10)
        assert not crowd.send(2, timeout_s=8).done.is_set()
    finally:
        crowd.clock.set()
        crowd.scheduler.stop()


def test_who_would_wait_longer_than_the_setting_is_refused_without_a_time_out() -> None:
    crowd = Crowd(max_wait_seconds="13")
    crowd.scheduler.start()
    try:
        crowd.run(6)
        assert isinstance(crowd.send(2).error, UnavailableError)
        crowd.run(4)
        assert not crowd.send(2).done.is_set()
    finally:
        crowd.clock.set()
        crowd.scheduler.stop()


def test_who_would_be_answered_too_late_is_dropped_before_it_is_run(crowd: Crowd) -> None:
    late = crowd.send(2, timeout_s=10.5)  # taken, as nothing is known of the engine yet
    in_time = crowd.send(2, timeout_s=60)
    crowd.run(9)
    # at 9 s another batch would end at 10 s; at 10 s one would end at 11 s
    assert not late.done.is_set()
    crowd.run(1)
    crowd.clock.let_through(1)
    assert wait_until(late.done.is_set, 10)
    assert isinstance(late.error, UnavailableError)
    assert not in_time.done.is_set()


def test_the_client_calls_it_a_full_queue() -> None:
    failure = Failure("UNAVAILABLE", "in ensemble 'asr', there is more work than can be done in time, 14 s of it: try")
    error = error_of(failure, Address.parse("127.0.0.1:8001"))
    assert isinstance(error, QueueFullError)
    assert str(error) == (
        "grpc://127.0.0.1:8001 has more work than it can do in the request's time-out: send fewer requests at once, "
        "allow more time, or try again later"
    )


def test_the_pace_is_that_of_the_last_batches() -> None:
    pace = Pace()
    for number in range(LEAST_BATCHES):
        assert pace.rate is None
        assert pace.batch_s == 0
        pace.begin(number)
        pace.end(number + 0.5, 1000, 0.5, counts=True)
    assert pace.rate == pytest.approx(2000)
    assert pace.batch_s == pytest.approx(0.5)
    for number in range(100):
        pace.begin(10 + number)
        pace.end(10 + number + 0.25, 1000, 0.25, counts=True)
    assert pace.rate == pytest.approx(4000, rel=1e-3)


def test_what_does_not_count_changes_nothing() -> None:
    pace = Pace()
    for number in range(LEAST_BATCHES):
        pace.begin(number)
        pace.end(number + 0.5, 1000, 0.5, counts=True)
    pace.begin(10)
    pace.end(20, 1, 10, counts=False)
    assert pace.rate == pytest.approx(2000)


def test_time_that_two_calls_share_counts_once() -> None:
    pace = Pace()
    pace.begin(0)
    for number in range(1, 11):
        pace.begin(number - 0.5)
        pace.end(number, 1000, 1.5, counts=True)
    assert pace.rate == pytest.approx(1000)
    assert pace.batch_s == pytest.approx(1.5)
