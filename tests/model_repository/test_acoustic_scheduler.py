"""The scheduler: every request gets its own answer or an error, whatever happens to its neighbours."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shrota_acoustic.errors import CancelledError, EngineError, InvalidRequestError, UnavailableError
from shrota_acoustic.intake import Intake
from shrota_acoustic.scheduler import Scheduler
from shrota_testing.acoustic import FRONTEND, Counts, FakeEngine, FakeRequest, frame_values, make_settings


def speech(seconds: float, rows: int = 1, seed: int = 0) -> NDArray[np.float32]:
    samples = round(seconds * FRONTEND.sample_rate)
    return np.random.default_rng(seed).normal(0, 1, (rows, samples)).astype(np.float32)


def expected(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the fake engine would give for the whole, [rows, frames, 2]."""
    return np.stack([frame_values(row, FRONTEND.frames(row.size)) for row in audio])


@dataclass
class Bench:
    """A scheduler between a fake engine and fake requests."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    counts: Counts = field(default_factory=Counts)
    parameters: dict[str, str] = field(default_factory=dict)
    now: float = 0

    def __post_init__(self) -> None:
        chosen = make_settings(**self.parameters)
        self.scheduler = Scheduler(chosen, self.engine, self.counts, clock=lambda: self.now)
        self.intake = Intake(chosen, self.scheduler)
        self.scheduler.start()

    def send(
        self,
        audio: NDArray[np.float32],
        timeout_s: float | None = None,
        engine: object = None,
        sample_rate: object = None,
    ) -> FakeRequest:
        """Sends a request, at the model's rate unless told otherwise; no engine is no parameter."""
        rate = FRONTEND.sample_rate if sample_rate is None else sample_rate
        given = {"engine": engine, "sample_rate": rate}
        parameters = {name: value for name, value in given.items() if value is not None}
        request = FakeRequest(audio, json.dumps(parameters) if parameters else "", timeout_s)
        self.intake.take(request, self.now)
        self.scheduler.report_pending()
        return request

    def rows_of_batches(self) -> list[int]:
        """Rows of each batch that the engine has been given."""
        return [len(num_samples) for _, _, num_samples in self.engine.batches]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    benches: list[Bench] = []

    def make(*, open_gate: bool = True, **parameters: str) -> Bench:
        bench = Bench(parameters=parameters)
        benches.append(bench)
        if open_gate:
            bench.engine.gate.set()
        return bench

    yield make
    for bench in benches:
        bench.engine.gate.set()
        bench.scheduler.stop()


class Turnstile(threading.Event):
    """A gate of the fake engine that lets one batch through at a time, until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._passes = threading.Semaphore(0)

    def let_one_through(self) -> None:
        """Lets the next batch, or the one that waits, through."""
        self._passes.release()

    def set(self) -> None:
        """Opens the gate for good."""
        self._passes.release(1_000_000)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for a pass, and uses it up."""
        return self._passes.acquire(timeout=timeout)


@pytest.mark.parametrize("calls", ["1", "3"])
@pytest.mark.parametrize("seconds", [0.025, 0.5, 1.999, 2, 2.02, 3.7, 11, 57.3])
def test_an_utterance_of_any_length_gives_the_frames_of_the_whole(
    make_bench: MakeBench, seconds: float, calls: str
) -> None:
    audio = speech(seconds)
    request = make_bench(engine_calls=calls).send(audio).wait()
    assert request.error is None
    np.testing.assert_array_equal(request.log_probs, expected(audio))
    np.testing.assert_allclose(request.durations, [[audio.shape[1] / FRONTEND.sample_rate]])


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 7000), st.integers(1, 3)), min_size=1, max_size=12),
    calls=st.integers(1, 3),
    budget=st.sampled_from(["2", "4", "40"]),
)
def test_a_mix_gives_each_request_its_own_frames(lengths: list[tuple[int, int]], calls: int, budget: str) -> None:
    bench = Bench(parameters={"engine_calls": str(calls), "batch_budget_seconds": budget})
    audios = [speech(samples / 1000, rows, seed) for seed, (samples, rows) in enumerate(lengths)]
    requests = [bench.send(audio) for audio in audios]
    bench.engine.gate.set()
    for audio, request in zip(audios, requests, strict=True):
        np.testing.assert_array_equal(request.wait().log_probs, expected(audio))
        assert request.times_answered == 1
    bench.scheduler.stop()
    assert bench.counts.pending_seconds == 0
    assert bench.counts.answered_seconds == pytest.approx(sum(audio.size for audio in audios) / 1000)


@pytest.mark.parametrize("samples", [1, 24])
def test_audio_shorter_than_a_frame_has_none(make_bench: MakeBench, samples: int) -> None:
    bench = make_bench()
    request = bench.send(speech(samples / 1000, rows=2)).wait()
    assert request.log_probs.shape == (2, 0, 2)
    # the engine is told the truth, and gets as much as it needs
    assert bench.engine.batches[0][1].shape == (2, 25)
    assert bench.engine.batches[0][2] == [samples, samples]


def test_what_waits_is_batched_by_length_once_the_engine_is_free(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    bench.send(speech(0.5))
    bench.engine.wait_entered()
    requests = [bench.send(speech(seconds)) for seconds in (1, 0.3, 0.98, 0.31, 0.99)]
    bench.engine.gate.set()
    for request in requests:
        request.wait()
    assert [num_samples for _, _, num_samples in bench.engine.batches] == [[500], [1000, 980, 990], [300, 310]]
    engine, rows, input_seconds, padded_seconds = bench.counts.batches[1]
    assert (engine, rows, input_seconds) == ("acoustic_onnx", 3, 3.0)
    assert padded_seconds == pytest.approx(0.03)


def test_an_utterance_beside_a_long_file_waits_for_one_batch_besides_its_own(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    long = bench.send(speech(90))
    bench.engine.wait_entered()
    short = bench.send(speech(1))
    bench.engine.gate.set()
    short.wait()
    assert [1000] in [num_samples for _, _, num_samples in bench.engine.batches[:2]]
    assert long.wait().error is None


def test_two_calls_at_a_time_keep_to_two_batches_before_an_utterance(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False, engine_calls="2")
    long = bench.send(speech(90))
    bench.engine.wait_entered()
    bench.engine.wait_entered()
    short = bench.send(speech(1))
    bench.engine.gate.set()
    short.wait()
    assert [1000] in [num_samples for _, _, num_samples in bench.engine.batches[:3]]
    assert long.wait().error is None


def test_a_request_is_answered_when_its_own_windows_are_done(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    turnstile = bench.engine.gate = Turnstile()
    long = bench.send(speech(30))
    bench.engine.wait_entered()
    short = bench.send(speech(1))
    turnstile.let_one_through()
    turnstile.let_one_through()
    assert short.wait().error is None
    assert not long.done.is_set()
    turnstile.set()
    assert long.wait().error is None


def test_engines_are_not_mixed_in_a_batch(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    bench.send(speech(0.5))
    bench.engine.wait_entered()
    requests = [bench.send(speech(1), engine=engine) for engine in ("acoustic_trt", "acoustic_onnx", "acoustic_trt")]
    bench.engine.gate.set()
    for request in requests:
        request.wait()
    assert [(name, len(rows)) for name, _, rows in bench.engine.batches[1:]] == [
        ("acoustic_trt", 2),
        ("acoustic_onnx", 1),
    ]


def test_another_rate_is_resampled_and_its_duration_is_its_own(make_bench: MakeBench) -> None:
    request = make_bench().send(speech(4), sample_rate=2000).wait()
    assert request.log_probs.shape == (1, FRONTEND.frames(2000), 2)
    assert request.durations.tolist() == [[2.0]]


def test_a_cancelled_request_never_reaches_the_engine(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    bench.send(speech(0.5))
    bench.engine.wait_entered()
    gone, stays = bench.send(speech(1)), bench.send(speech(1))
    gone.cancelled = True
    bench.engine.gate.set()
    assert isinstance(gone.wait().error, CancelledError)
    assert stays.wait().error is None
    assert bench.rows_of_batches() == [1, 1]
    assert bench.counts.dropped_codes == ["CANCELLED"]


def test_a_long_file_that_is_cancelled_stops_there(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    long = bench.send(speech(90))
    bench.engine.wait_entered()
    long.cancelled = True
    bench.engine.gate.set()
    assert isinstance(long.wait().error, CancelledError)
    assert bench.rows_of_batches() == [2]


def test_a_request_whose_deadline_has_passed_never_reaches_the_engine(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    bench.send(speech(0.5))
    bench.engine.wait_entered()
    late, patient = bench.send(speech(1), timeout_s=3), bench.send(speech(1), timeout_s=30)
    bench.now = 4
    bench.engine.gate.set()
    error = late.wait().error
    assert isinstance(error, UnavailableError)
    assert "time-out passed" in str(error)
    assert patient.wait().error is None
    assert bench.rows_of_batches() == [1, 1]


def test_one_bad_request_does_not_fail_its_neighbours(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False)
    bench.send(speech(0.5))
    bench.engine.wait_entered()
    audios = [speech(1, seed=seed) for seed in range(3)]
    audios[1][0, 500] = 777
    requests = [bench.send(audio) for audio in audios]
    bench.engine.poison = 777
    bench.engine.gate.set()
    for number in (0, 2):
        np.testing.assert_array_equal(requests[number].wait().log_probs, expected(audios[number]))
    assert isinstance(requests[1].wait().error, EngineError)


def test_an_engine_that_is_not_there_fails_all_its_requests_at_once_and_is_asked_again_later(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(open_gate=False)
    bench.engine.fault = UnavailableError("engine acoustic_onnx is not loaded")
    first = bench.send(speech(90))
    bench.engine.gate.set()
    assert first.wait().error is bench.engine.fault
    assert len(bench.engine.batches) == 1
    bench.engine.fault = None
    assert bench.send(speech(1)).wait().error is None


def test_a_defect_answers_the_requests_and_leaves_the_thread_alive(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench()
    bench.engine.fault = ZeroDivisionError("a defect")
    assert "a defect" in str(bench.send(speech(5)).wait().error)
    bench.engine.fault = None
    assert bench.send(speech(1)).wait().error is None
    assert "a batch failed" in caplog.text


def test_an_engine_that_breaks_its_contract_is_found_out(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.engine.num_frames_offset = 1
    error = bench.send(speech(1)).wait().error
    assert isinstance(error, EngineError)
    assert "gave [50] frames in [1, 49, 2] where frontend.json says [49]" in str(error)


@pytest.mark.parametrize(
    ("audio", "engine", "sample_rate", "told"),
    [
        (np.zeros((1, 0), np.float32), None, None, "no samples"),
        (np.full((1, 50), np.nan, np.float32), None, None, "send finite numbers"),
        (np.zeros((1, 100_001), np.float32), None, None, "the limit is 100 s"),
        (speech(1), "acoustic", None, "unknown engine"),
        (speech(1), None, 0, "sample_rate"),
    ],
)
def test_a_request_that_cannot_be_run_is_refused_and_the_next_one_is_not(
    make_bench: MakeBench, audio: NDArray[np.float32], engine: object, sample_rate: object, told: str
) -> None:
    bench = make_bench()
    error = bench.send(audio, engine=engine, sample_rate=sample_rate).error
    assert isinstance(error, InvalidRequestError)
    assert told in str(error)
    assert bench.send(speech(1)).wait().error is None


def test_taking_a_request_blocks_while_the_pending_budget_is_full(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False, pending_budget_seconds="3")
    # one request may exceed the budget: otherwise a long one would never get in
    requests = [bench.send(speech(2)), bench.send(speech(9))]
    bench.engine.wait_entered()
    assert bench.counts.pending_seconds == 11
    blocked = threading.Thread(target=lambda: requests.append(bench.send(speech(1))))
    blocked.start()
    blocked.join(0.05)
    assert blocked.is_alive()
    bench.engine.gate.set()
    blocked.join(10)
    for request in requests:
        assert request.wait().error is None
    assert len(requests) == 3


LIKE_THE_DEFAULTS = {
    "window_seconds": "20",
    "overlap_seconds": "2",
    "batch_budget_seconds": "40",
    "max_audio_seconds": "7200",
    "pending_budget_seconds": "3600",
}


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros((1, round(seconds * FRONTEND.sample_rate)), np.float32)


def take_beside(bench: Bench, audio: NDArray[np.float32]) -> FakeRequest | None:
    """Sends a request; None when it is not taken, because the pending budget is full."""
    taken: list[FakeRequest] = []
    sending = threading.Thread(target=lambda: taken.append(bench.send(audio)), daemon=True)
    sending.start()
    sending.join(1)
    return taken[0] if taken else None


@pytest.mark.parametrize("long_s", [[1800, 1800], [3600], [7200], [1800] * 15])
def test_an_utterance_is_taken_and_run_at_once_whatever_long_files_are_being_run(
    make_bench: MakeBench, long_s: list[float]
) -> None:
    bench = make_bench(open_gate=False, **LIKE_THE_DEFAULTS)
    turnstile = bench.engine.gate = Turnstile()
    for seconds in long_s:
        bench.send(silence(seconds))
    for _ in long_s:
        bench.engine.wait_entered()
        turnstile.let_one_through()
    # each file has had a window, and the next batch is in the engine
    bench.engine.wait_entered()
    short = take_beside(bench, silence(10))
    assert short is not None, "the long files keep it out"
    turnstile.set()
    assert short.wait().error is None
    assert any(10_000 in num_samples for _, _, num_samples in bench.engine.batches[len(long_s) :][:2])


@pytest.mark.parametrize(("seconds", "taken"), [(7200, 16), (225, 16), (100, 36)])
def test_many_requests_fill_the_budget_all_the_same(make_bench: MakeBench, seconds: float, taken: int) -> None:
    bench = make_bench(open_gate=False, **LIKE_THE_DEFAULTS)
    audio = silence(seconds)
    for _ in range(taken):
        bench.send(audio)
    assert take_beside(bench, silence(10)) is None


def test_a_small_budget_is_filled_by_windows(make_bench: MakeBench) -> None:
    bench = make_bench(open_gate=False, **{**LIKE_THE_DEFAULTS, "pending_budget_seconds": "40"})
    bench.send(silence(20))
    bench.send(silence(20))
    assert take_beside(bench, silence(10)) is None


def test_pending_audio_falls_with_every_window(make_bench: MakeBench) -> None:
    bench = make_bench(batch_budget_seconds="2")
    bench.send(speech(9)).wait()
    # five windows, each run alone
    assert bench.counts.pending_history == pytest.approx([9, 7.2, 5.4, 3.6, 1.8, 0])


def test_the_last_of_two_reports_at_once_is_the_newer_one() -> None:
    nothing_pends = threading.Event()

    class Stalling(Counts):
        def pending(self, seconds: float) -> None:
            if seconds:
                nothing_pends.wait(0.2)
            self.pending_seconds = seconds
            if not seconds:
                nothing_pends.set()

    bench = Bench(counts=Stalling())
    bench.engine.gate.set()
    bench.send(speech(1)).wait()
    bench.scheduler.stop()
    assert bench.counts.pending_seconds == 0


@pytest.mark.parametrize("calls", ["1", "2"])
def test_stopping_answers_everything(make_bench: MakeBench, calls: str) -> None:
    bench = make_bench(open_gate=False, pending_budget_seconds="3", engine_calls=calls)
    requests = [bench.send(speech(50)), FakeRequest(speech(1))]
    blocked = threading.Thread(target=lambda: bench.intake.take(requests[1], 0))
    blocked.start()
    bench.engine.wait_entered()
    stopping = threading.Thread(target=bench.scheduler.stop)
    stopping.start()
    for request in requests:
        error = request.wait().error
        assert isinstance(error, UnavailableError)
        assert "stopping" in str(error)
    bench.engine.gate.set()
    stopping.join(10)
    blocked.join(10)
    assert not stopping.is_alive()
    assert [request.times_answered for request in requests] == [1, 1]
    assert isinstance(bench.send(speech(1)).error, UnavailableError)


def test_a_request_that_cannot_even_be_read_is_told(make_bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    bench = make_bench()
    request = FakeRequest(speech(1), "not JSON")
    bench.intake.take(request, 0)
    assert isinstance(request.error, EngineError)
    assert bench.send(speech(1)).wait().error is None
    assert "could not be read" in caplog.text


def test_requests_are_answered_though_they_cannot_be_counted(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()

    def fail(_: float) -> None:
        raise RuntimeError("no metrics")

    monkeypatch.setattr(bench.counts, "answered", fail)
    audio = [speech(1, seed=seed) for seed in range(3)]
    requests = [bench.send(each) for each in audio]
    bench.engine.gate.set()
    for request, each in zip(requests, audio, strict=True):
        np.testing.assert_array_equal(request.wait().log_probs, expected(each))


def test_an_answer_that_cannot_be_sent_leaves_its_neighbours_theirs(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    audio = [speech(1, seed=seed) for seed in range(3)]
    requests = [bench.send(each) for each in audio]

    def fail(*_: object) -> None:
        raise RuntimeError("no way back")

    monkeypatch.setattr(requests[0], "answer", fail)
    bench.engine.gate.set()
    for request, each in zip(requests[1:], audio[1:], strict=True):
        np.testing.assert_array_equal(request.wait().log_probs, expected(each))
