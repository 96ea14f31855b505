"""The course of one request, without input or output: what to load, send and wait for, and in which order.

The methods of :class:`Exchange` are generators. They yield the steps that touch the outside world, the client
(blocking or asynchronous) performs each and sends back its outcome, and what the generator returns is the answer: a
transcript, or log-probabilities. So time-outs, retries, errors and parsing exist once.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from shrota_client.address import Address
from shrota_client.answer import Outputs, floats_of, string_of
from shrota_client.decoding import Decoding, check_given_once, with_effect
from shrota_client.errors import ParameterError, QueueFullError
from shrota_client.failures import Failure, error_of
from shrota_client.log_probs import LogProbs
from shrota_client.message import Parameter, Request
from shrota_client.samples import SAMPLE_RATE, Samples, as_samples, check_sample_rate, resample
from shrota_client.settings import Retry, Timeouts
from shrota_client.transcript import Transcript

ACOUSTIC, DECODER = "acoustic", "ctc_decoder"
"""The models that the ensemble ``asr`` consists of."""
AUDIO, LOG_PROBS, DURATION = "AUDIO", "LOG_PROBS", "DURATION"

Audio = str | PathLike[str] | BinaryIO | Samples
"""What can be transcribed: a path, an open binary file or an array of samples."""


@dataclass(frozen=True)
class Load:
    """Step: call ``load``, which reads and converts the audio, and send back the request."""

    load: Callable[[], Request]


@dataclass(frozen=True)
class Send:
    """Step: send the request, wait at most ``timeout_s``, and send back the answer's tensors or the failure."""

    request: Request
    timeout_s: float | None

    @property
    def timeout_us(self) -> int | None:
        """The same limit in microseconds, as Triton's queues take it."""
        return None if self.timeout_s is None else max(1, round(self.timeout_s * 1e6))


@dataclass(frozen=True)
class Wait:
    """Step: let ``seconds`` pass."""

    seconds: float


Step = Load | Send | Wait
Outcome = Request | Outputs | Failure | None
Returned = TypeVar("Returned")
Steps = Generator[Step, Outcome, Returned]


@dataclass(frozen=True)
class Exchange:
    """The settings that all requests of a client share; ``clock`` gives monotonic seconds."""

    address: Address
    timeouts: Timeouts
    retry: Retry
    parameters: Mapping[str, Parameter]
    decoding: Decoding = field(default_factory=Decoding)
    clock: Callable[[], float] = time.monotonic

    def transcription(
        self,
        audio: Audio,
        sample_rate: int = SAMPLE_RATE,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Steps[Transcript]:
        """Steps from audio to the transcript.

        What is said of this request goes before what is said of all.

        Raises:
            ShrotaError: in the generator, whatever went wrong.
        """
        merged = self._merged(parameters, decoding)
        outputs, elapsed_s = yield from self._request(lambda: make_request(audio, sample_rate, merged))
        return Transcript.from_result(string_of(outputs), elapsed_s)

    def log_probs_of(
        self, audio: Audio, sample_rate: int = SAMPLE_RATE, parameters: Mapping[str, Parameter] | None = None
    ) -> Steps[LogProbs]:
        """Steps from audio to log-probabilities; otherwise as :meth:`transcription`."""
        merged = {**self.parameters, **(parameters or {})}
        wanted = (LOG_PROBS, DURATION)
        outputs, _ = yield from self._request(
            lambda: replace(make_request(audio, sample_rate, merged), model=ACOUSTIC, outputs=wanted)
        )
        return LogProbs(floats_of(outputs, LOG_PROBS, 2), float(floats_of(outputs, DURATION, 1).sum()))

    def decoding_of(
        self, log_probs: LogProbs, parameters: Mapping[str, Parameter] | None = None, decoding: Decoding | None = None
    ) -> Steps[Transcript]:
        """Steps from log-probabilities to the transcript; otherwise as :meth:`transcription`."""
        merged = self._merged(parameters, decoding)
        outputs, elapsed_s = yield from self._request(lambda: Request(_tensors(log_probs), merged, model=DECODER))
        return Transcript.from_result(string_of(outputs), elapsed_s)

    def _merged(self, parameters: Mapping[str, Parameter] | None, decoding: Decoding | None) -> dict[str, Parameter]:
        check_given_once(parameters or {}, decoding)
        self.decoding.updated(decoding)  # refuses what does not go together
        given = {**(decoding.parameters() if decoding is not None else {}), **(parameters or {})}
        return with_effect({**self.parameters, **self.decoding.parameters()}, given)

    def _request(self, load: Callable[[], Request]) -> Steps[tuple[Outputs, float]]:
        """Steps of one request; the answer, and the seconds that it took."""
        request = yield Load(load)
        assert isinstance(request, Request)  # noqa: S101 - what Load sends back; for the type checker
        limit_s = self.timeouts.request_s
        start = self.clock()
        attempt = 0
        while True:
            attempt += 1
            left_s = None if limit_s is None else max(1e-3, limit_s - (self.clock() - start))
            answer = yield Send(request, left_s)
            if isinstance(answer, Mapping):
                return answer, self.clock() - start
            assert isinstance(answer, Failure)  # noqa: S101 - what Send sends back; for the type checker
            error = error_of(answer, self.address, limit_s, self.clock() - start)
            if not isinstance(error, QueueFullError) or attempt >= self.retry.attempts:
                raise error
            delay_s = self.retry.delay_s(attempt)
            if limit_s is not None and self.clock() - start + delay_s >= limit_s:
                raise error
            yield Wait(delay_s)


def _tensors(log_probs: LogProbs) -> dict[str, NDArray[np.float32]]:
    """The decoder's inputs.

    Raises:
        ParameterError: the log-probabilities are not those of one utterance.
    """
    values = np.ascontiguousarray(log_probs.values, np.float32)
    if values.ndim != 2:  # noqa: PLR2004 - frames and vocabulary
        raise ParameterError(f"the log-probabilities have shape {list(values.shape)}: give [frames, vocabulary]")
    return {LOG_PROBS: values[None], DURATION: np.array([[log_probs.duration]], np.float32)}


def make_request(audio: Audio, sample_rate: int, parameters: Mapping[str, Parameter]) -> Request:
    """Reads, checks and converts the audio.

    An array is resampled to 16 kHz here, unless ``parameters`` says its ``sample_rate``: then the server does it.

    Raises:
        AudioError: audio that cannot be read or sent.
        ParameterError: a parameter that Triton cannot carry.
    """
    if isinstance(audio, np.ndarray):
        samples: NDArray[np.float32] = as_samples(audio)
        if "sample_rate" not in parameters:
            samples = resample(samples, check_sample_rate(sample_rate))
        return Request({AUDIO: samples[None]}, parameters)
    if "sample_rate" in parameters:
        raise ParameterError("the parameter sample_rate is for arrays: a file says its own rate")
    from shrota_client.audio import read_audio  # noqa: PLC0415 - libsndfile is needed for files only

    return Request({AUDIO: read_audio(audio)[None]}, parameters)
