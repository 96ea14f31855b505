"""Overload for a minute, simulated: the scheduler, with an engine that only passes the time."""

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.engine import EngineOutput
from shrota_acoustic.errors import UnavailableError
from shrota_acoustic.intake import Intake
from shrota_acoustic.scheduler import Scheduler
from shrota_acoustic.settings import Settings
from shrota_loadtest.lengths import LENGTHS
from shrota_testing.acoustic import FRONTEND, Counts, FakeRequest, make_settings

SPEED = 66.0
"""Seconds of audio that the engine runs in a second, padding included."""
CALL_S = 0.02
"""What each of its calls takes besides."""
TIMEOUT_S = 10.0
RATE = 3 * SPEED / 6.9
"""Requests a second: three times what the engine can do, as a request of these lengths has 6.9 s on average."""
DURATION_S = 60.0


class Caller(FakeRequest):
    """A request that notes when its end came."""

    ended_s: float | None = None
    overload: "Overload"
    sent_s: float

    def _end(self) -> None:
        self.ended_s = self.overload.now
        super()._end()


class Overload:
    """A clock, arrivals, and the engine. While the engine runs a batch, it lets arrive what arrives in that time."""

    def __init__(self, settings: Settings) -> None:
        generator = np.random.default_rng(1)
        gaps = generator.exponential(1 / RATE, round(RATE * DURATION_S))
        lengths = LENGTHS["news"].draw(len(gaps), generator)
        self._arrivals = list(zip(np.cumsum(gaps).tolist(), lengths.tolist(), strict=True))[::-1]
        self.now = 0.0
        self.callers: list[Caller] = []
        self.run_s = 0.0
        self.counts = Counts()
        self.scheduler = Scheduler(settings, self, self.counts, clock=lambda: self.now)
        self._intake = Intake(settings, self.scheduler)

    def run(self, name: str, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> EngineOutput:
        """See ``shrota_acoustic.engine.Engine.run``."""
        del name
        self.let_arrive(self.now + CALL_S + audio.size / FRONTEND.sample_rate / SPEED)
        self.run_s += float(num_samples.sum()) / FRONTEND.sample_rate
        frames = [[FRONTEND.frames(int(count))] for count in num_samples[:, 0]]
        shape = (len(audio), FRONTEND.frames(audio.shape[1]), 2)
        return EngineOutput(np.zeros(shape, np.float32), np.array(frames, np.int32))

    def let_arrive(self, until_s: float) -> None:
        """Sets the clock forward, and sends the requests that are due until then."""
        while self._arrivals and self._arrivals[-1][0] <= until_s:
            self.now, seconds = self._arrivals.pop()
            audio = np.zeros((1, round(seconds * FRONTEND.sample_rate)), np.float32)
            caller = Caller(audio, f'{{"sample_rate": {FRONTEND.sample_rate}}}', TIMEOUT_S)
            caller.overload, caller.sent_s = self, self.now
            self.callers.append(caller)
            self._intake.take(caller, self.now)
        self.now = until_s


def test_under_overload_who_is_taken_is_answered_in_time_and_the_engine_works_for_nobody_else() -> None:
    overload = Overload(make_settings(window_seconds="20", overlap_seconds="2", batch_budget_seconds="40"))
    overload.let_arrive(0.5)  # the rest arrives while the engine runs these
    overload.scheduler.start()
    try:
        for caller in overload.callers:  # it grows meanwhile
            caller.wait()
    finally:
        overload.scheduler.stop()
    assert len(overload.callers) == round(RATE * DURATION_S)
    answered = [caller for caller in overload.callers if caller.error is None]
    refused = [caller for caller in overload.callers if caller.error is not None]
    assert all(isinstance(caller.error, UnavailableError) for caller in refused)
    took = {caller: (caller.ended_s or 0) - caller.sent_s for caller in overload.callers}
    assert max(took[caller] for caller in answered) < TIMEOUT_S
    assert [caller for caller in refused if took[caller] > 0] == []
    # a third of them is what the engine can do
    assert 0.3 < len(answered) / len(overload.callers) < 0.4
    assert sum(float(caller.durations.sum()) for caller in answered) > 0.999 * overload.run_s
