"""The course of a request without a network: its steps are answered by the test."""

import numpy as np
import pytest

from shrota_acoustic.engine import engine_error
from shrota_acoustic.errors import RequestError as AcousticRefusal
from shrota_acoustic.job import Job
from shrota_acoustic.recording import Recording
from shrota_client import (
    AudioError,
    ParameterError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    Retry,
    ServerError,
    Timeouts,
    Transcript,
)
from shrota_client.address import Address
from shrota_client.answer import Output
from shrota_client.exchange import Exchange, Load, Outcome, Send, Step, Wait, make_request
from shrota_client.failures import Failure, error_of, one_line
from shrota_testing.acoustic import FakeRequest, make_settings
from shrota_testing.fake_triton import result_tensor

ADDRESS = Address("grpc", "127.0.0.1", 8001)
FULL = Failure("UNAVAILABLE", "Exceeds maximum queue size")
AUDIO = np.zeros(1600, np.float32)
HEARD = {"RESULT": Output((1, 1), result_tensor("हाँ", 0.1))}


class World:
    """Answers steps from a list; every send takes ``send_s``, every wait its time, on a clock of its own."""

    def __init__(self, answers: list[Outcome], timeouts: Timeouts, retry: Retry, send_s: float = 0.1) -> None:
        self.now = 100.0
        self.steps: list[Step] = []
        self._answers = answers
        self._send_s = send_s
        self.exchange = Exchange(ADDRESS, timeouts, retry, {}, clock=lambda: self.now)

    def run(self) -> Transcript:
        """Performs all steps."""
        transcription = self.exchange.transcription(AUDIO)
        outcome: Outcome = None
        try:
            while True:
                step = transcription.send(outcome)
                self.steps.append(step)
                if isinstance(step, Load):
                    outcome = step.load()
                elif isinstance(step, Send):
                    self.now += self._send_s
                    outcome = self._answers.pop(0)
                else:
                    self.now += step.seconds
                    outcome = None
        except StopIteration as end:
            transcript: Transcript = end.value
            return transcript


def test_load_then_send() -> None:
    world = World([HEARD], Timeouts(), Retry())
    transcript = world.run()
    assert transcript.text == "हाँ"
    assert transcript.elapsed_s == pytest.approx(0.1)
    assert [type(step) for step in world.steps] == [Load, Send]


def test_the_wait_between_attempts_grows_and_counts_as_elapsed() -> None:
    retry = Retry(first_delay_s=1.0, max_delay_s=3.0, draw=lambda: 1.0)
    world = World([FULL, FULL, FULL, HEARD], Timeouts(), retry)
    assert world.run().elapsed_s == pytest.approx(4 * 0.1 + 1 + 2 + 3)
    assert [step.seconds for step in world.steps if isinstance(step, Wait)] == [1, 2, 3]


def test_each_attempt_has_what_is_left_of_the_time() -> None:
    world = World([FULL, FULL, HEARD], Timeouts(request_s=10), Retry(first_delay_s=1, draw=lambda: 1.0))
    world.run()
    sends = [step for step in world.steps if isinstance(step, Send)]
    assert [step.timeout_s for step in sends] == pytest.approx([10, 8.9, 6.8])
    assert sends[1].timeout_us == 8_900_000


def test_no_attempt_after_the_time_is_over() -> None:
    world = World([FULL, FULL], Timeouts(request_s=2), Retry(attempts=100, first_delay_s=1.2, draw=lambda: 1.0))
    with pytest.raises(QueueFullError):
        world.run()
    assert world.now - 100 < 2


def test_one_attempt_never_waits() -> None:
    world = World([FULL], Timeouts(), Retry(attempts=1))
    with pytest.raises(QueueFullError):
        world.run()
    assert not any(isinstance(step, Wait) for step in world.steps)


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Failure("INVALID_ARGUMENT", "too long: 7200 s at most"), RequestError, "too long: 7200 s at most"),
        (
            Failure("INVALID_ARGUMENT", "[request id: 7] in ensemble 'asr', unknown engine"),
            RequestError,
            "unknown engine",
        ),
        (Failure("INTERNAL", "a\nb"), ServerError, "failed (INTERNAL: a b): its log says more"),
        (Failure("HTTP 418", "teapot"), ServerError, "HTTP 418: teapot"),
    ],
)
def test_errors_are_one_line(failure: Failure, kind: type[Exception], text: str) -> None:
    error = error_of(failure, ADDRESS)
    assert type(error) is kind
    assert text in str(error)


def refused(refusal: AcousticRefusal | None) -> Failure:
    """A refusal of the acoustic model as it arrives here, through the ensemble."""
    assert refusal is not None
    return Failure(refusal.code, f"in ensemble 'asr', {refusal}")


def test_the_full_queue_of_an_engine_is_tried_again() -> None:
    full = refused(engine_error("acoustic_onnx", "[request id: 7] Exceeds maximum queue size", passing=True))
    world = World([full, HEARD], Timeouts(), Retry())
    assert world.run().text == "हाँ"
    assert sum(isinstance(step, Send) for step in world.steps) == 2


def late_job() -> Failure:
    """What the acoustic model answers to a request that was not run before its own time-out."""
    audio = np.zeros((1, 100), np.float32)
    recording, responder = Recording(audio, 1000, 1000, 100.0), FakeRequest(audio)
    job = Job(recording=recording, engine="e", settings=make_settings(), responder=responder, deadline=5.0)
    return refused(job.drop_reason(5.0))


QUEUE_TIMEOUT = Failure("UNAVAILABLE", "[request id: 7] Request timeout expired")


@pytest.mark.parametrize(
    "failure",
    [
        late_job(),
        QUEUE_TIMEOUT,
        refused(engine_error("acoustic_onnx", "Request timeout expired", passing=True)),
        Failure("DEADLINE_EXCEEDED", ""),
    ],
)
def test_the_callers_time_out_asks_for_more_time(failure: Failure) -> None:
    world = World([failure], Timeouts(request_s=5), Retry(), send_s=5.001)
    with pytest.raises(RequestTimeoutError, match=r"^no answer from .* within 5 s: allow more time \(--timeout\), or"):
        world.run()


@pytest.mark.parametrize("request_s", [300, None])
def test_more_time_is_no_remedy_for_the_time_out_of_the_servers_queue(request_s: float | None) -> None:
    world = World([QUEUE_TIMEOUT], Timeouts(request_s=request_s), Retry(), send_s=60)
    message = (
        r"waited too long in the queue of grpc://127\.0\.0\.1:8001: send fewer requests at once, or try again later$"
    )
    with pytest.raises(RequestTimeoutError, match=message):
        world.run()


def test_a_proxy_may_give_up_before_the_caller() -> None:
    world = World([Failure("DEADLINE_EXCEEDED", "gateway time-out")], Timeouts(request_s=300), Retry(), send_s=60)
    with pytest.raises(RequestTimeoutError, match="or a proxy before it, gave up waiting for the answer: send fewer"):
        world.run()


def test_an_endless_message_is_cut() -> None:
    assert one_line("a" * 600) == "a" * 499 + "…"


def test_an_array_at_another_rate_is_resampled() -> None:
    assert make_request(np.zeros(8000, np.float32), 8000, {}).inputs["AUDIO"].shape == (1, 16000)


def test_the_server_resamples_where_the_parameter_says_the_rate() -> None:
    request = make_request(np.zeros(8000, np.float32), 16000, {"sample_rate": 8000})
    assert request.inputs["AUDIO"].shape == (1, 8000)
    assert request.parameters["sample_rate"] == 8000


def test_a_file_says_its_own_rate() -> None:
    with pytest.raises(ParameterError, match="a file says its own rate"):
        make_request("a.wav", 16000, {"sample_rate": 8000})


def test_the_rate_of_an_array_is_checked() -> None:
    with pytest.raises(AudioError, match="whole number of Hz"):
        make_request(AUDIO, 0, {})
