"""Stand-ins for Triton around the acoustic model's scheduler: an engine and requests under a test's control."""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.engine import EngineOutput
from shrota_acoustic.errors import EngineError, RequestError
from shrota_acoustic.settings import Frontend, Settings, read_settings

FRONTEND = Frontend(sample_rate=1000, stride=20, receptive_field=25)
WAIT_S = 10


def make_settings(**parameters: str) -> Settings:
    """Settings of a small model: 1000 Hz, windows of 2 s that overlap by 0.2 s, unless told otherwise."""
    small = {"window_seconds": "2", "overlap_seconds": "0.2", "batch_budget_seconds": "4", "max_audio_seconds": "100"}
    return read_settings({**small, **parameters}, FRONTEND)


def frame_values(audio: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """What the fake engine gives for one row: each frame is its first and its last sample, [frames, 2]."""
    first = audio[: frames * FRONTEND.stride : FRONTEND.stride]
    last = audio[FRONTEND.receptive_field - 1 :: FRONTEND.stride][:frames]
    return np.stack([first, last], axis=1)


@dataclass
class FakeEngine:
    """Frames that show which samples they were made of. It stops before each batch while ``gate`` is closed."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[tuple[str, NDArray[np.float32], list[int]]] = field(default_factory=list)
    poison: float | None = None
    """A sample that makes the engine fail at a batch."""
    fault: Exception | None = None
    """What the next batches fail with."""
    num_frames_offset: int = 0

    def run(self, name: str, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> EngineOutput:
        """See ``shrota_acoustic.engine.Engine.run``."""
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        self.batches.append((name, audio.copy(), num_samples[:, 0].tolist()))
        if self.fault is not None:
            raise self.fault
        if self.poison is not None and (audio == self.poison).any():
            text = "poisoned"
            raise EngineError(text)
        frames = FRONTEND.frames(audio.shape[1])
        log_probs = np.stack([frame_values(row, frames) for row in audio])
        num_frames = [[FRONTEND.frames(int(count)) + self.num_frames_offset] for count in num_samples[:, 0]]
        return EngineOutput(log_probs, np.array(num_frames, np.int32))

    def wait_entered(self) -> None:
        """Waits until the engine has been called once more."""
        assert self.entered.acquire(timeout=WAIT_S)


@dataclass(eq=False)
class FakeRequest:
    """A request whose answer can be waited for."""

    audio: NDArray[np.float32]
    parameters: str = ""
    timeout_s: float | None = None
    cancelled: bool = False
    log_probs: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    durations: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    error: RequestError | None = None
    times_answered: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def answer(self, log_probs: NDArray[np.float32], durations: NDArray[np.float32]) -> None:
        """Keeps the answer."""
        self.log_probs, self.durations = log_probs, durations
        self._end()

    def fail(self, error: RequestError) -> None:
        """Keeps the error."""
        self.error = error
        self._end()

    def is_cancelled(self) -> bool:
        """Whether the test has cancelled it."""
        return self.cancelled

    def wait(self) -> "FakeRequest":
        """Waits for the answer or the error."""
        assert self.done.wait(WAIT_S), "no answer"
        return self

    def _end(self) -> None:
        self.times_answered += 1
        self.done.set()


@dataclass
class Counts:
    """Metrics that a test can read."""

    batches: list[tuple[str, int, float, float]] = field(default_factory=list)
    answered_seconds: float = 0
    dropped_codes: list[str] = field(default_factory=list)
    pending_seconds: float = 0
    pending_history: list[float] = field(default_factory=list)
    wall_seconds: float = 0

    def batch(self, engine: str, rows: int, input_seconds: float, padded_seconds: float, wall_seconds: float) -> None:
        """See ``shrota_acoustic.metrics.Metrics``."""
        self.batches.append((engine, rows, input_seconds, padded_seconds))
        self.wall_seconds += wall_seconds

    def answered(self, seconds: float) -> None:
        """See ``shrota_acoustic.metrics.Metrics``."""
        self.answered_seconds += seconds

    def dropped(self, code: str) -> None:
        """See ``shrota_acoustic.metrics.Metrics``."""
        self.dropped_codes.append(code)

    def pending(self, seconds: float) -> None:
        """See ``shrota_acoustic.metrics.Metrics``."""
        self.pending_seconds = seconds
        self.pending_history.append(seconds)
