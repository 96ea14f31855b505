"""The clients. Both perform the steps of :mod:`shrota_client.exchange`: one blocks, the other awaits."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from shrota_client.address import Address
from shrota_client.answer import Outputs
from shrota_client.decoding import Decoding, check_given_once
from shrota_client.errors import CertificateError, ShrotaError
from shrota_client.exchange import Audio, Exchange, Load, Outcome, Returned, Send, Steps
from shrota_client.failures import Failure
from shrota_client.log_probs import LogProbs
from shrota_client.message import Parameter, check_parameter
from shrota_client.results import Result, check_concurrency, in_order, in_order_async
from shrota_client.samples import SAMPLE_RATE
from shrota_client.settings import Retry, Timeouts, Tls
from shrota_client.transcript import Transcript
from shrota_client.transports import open_async_transport, open_transport

DEFAULT_SERVER = "127.0.0.1:8001"
CONCURRENCY = 8
"""Requests on their way at once, unless the caller says otherwise."""


class _Settings(ABC):
    """What both clients are made of."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
        tls: Tls | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.address = Address.parse(server)
        self._tls = tls or Tls()
        self._timeouts = timeouts or Timeouts()
        decoding = decoding or Decoding()
        check_given_once(parameters or {}, decoding)
        for name, value in {**(parameters or {}), **decoding.parameters()}.items():
            check_parameter(name, value)
        if not self.address.encrypted and self._tls != Tls():
            raise CertificateError(f"{self.address} is not encrypted: certificates are for grpcs:// and https://")
        self._closed = threading.Event()
        self._exchange = Exchange(self.address, self._timeouts, retry or Retry(), dict(parameters or {}), decoding)
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Makes the transport, which connects when it first sends."""

    def _check_open(self) -> None:
        """What goes wrong in a client that is closed goes wrong because of that."""
        if self._closed.is_set():
            raise ShrotaError("this client is closed: make another one")


class Client(_Settings):
    """Transcribes; every call blocks until its answer is there.

    One client may be shared by any number of threads, and should be: it keeps the connections. Use it as a context
    manager, or call :meth:`close`.

    Args:
        server: ``host:port`` or ``grpc://``, ``grpcs://``, ``http://``, ``https://`` with host and port.
        parameters: request parameters of every call, such as ``{"engine": "acoustic_onnx"}``.
        decoding: how the decoder of the server searches, unless a call says otherwise.
        tls: certificates, for ``grpcs://`` and ``https://``.
        timeouts: how long to wait.
        retry: how often a request that met a full queue is sent again.

    Raises:
        AddressError, CertificateError, ParameterError: for settings that cannot be used. Nothing is sent yet.
    """

    def _connect(self) -> None:
        self._transport = open_transport(self.address, self._tls, self._timeouts)

    def transcribe(
        self,
        audio: Audio,
        sample_rate: int = SAMPLE_RATE,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """Transcribes one utterance or recording.

        Args:
            audio: a path, a file opened in binary mode, or an array [samples] of float32 or float64 in [-1, 1] or
                of int16.
            sample_rate: of an array, in Hz; it is resampled to 16 kHz before it is sent. A file says its own.
            parameters: of this request, over those of the client.
            decoding: of this request; what it leaves open is as the client's ``decoding`` says.

        Raises:
            AudioError: the audio cannot be read or sent.
            ParameterError: Triton cannot carry a parameter, or parameters that do not go together.
            RequestError: the server refused the request.
            QueueFullError: the server's queue stayed full.
            RequestTimeoutError: no answer in time.
            ServerUnavailableError: no server there, or it went away.
            ServerError: the server failed.
            ShrotaError: the client is closed.
        """
        return self._perform(self._exchange.transcription(audio, sample_rate, parameters, decoding))

    def log_probs(
        self, audio: Audio, sample_rate: int = SAMPLE_RATE, parameters: Mapping[str, Parameter] | None = None
    ) -> LogProbs:
        """Log-probabilities of the tokens, for :meth:`decode`; arguments and errors are those of :meth:`transcribe`.

        The server must offer its models ``acoustic`` and ``ctc_decoder``, as ours do, not only ``asr``.
        """
        return self._perform(self._exchange.log_probs_of(audio, sample_rate, parameters))

    def decode(
        self,
        log_probs: LogProbs,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """Decodes one utterance's log-probabilities: what :meth:`transcribe` would give with the same ``decoding``.

        So one utterance is decoded in many ways while the acoustic model, which takes nearly all of the time, has run
        once. Arguments and errors are otherwise those of :meth:`transcribe`.
        """
        return self._perform(self._exchange.decoding_of(log_probs, parameters, decoding))

    def _perform(self, steps: Steps[Returned]) -> Returned:
        self._check_open()
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Send):
                    outcome = self._send(step)
                elif isinstance(step, Load):
                    outcome = step.load()
                else:
                    self._closed.wait(step.seconds)
                    outcome = None
        except StopIteration as end:
            answer: Returned = end.value
            return answer

    def _send(self, step: Send) -> Outputs | Failure:
        self._check_open()
        outcome = self._transport.send(step)
        if isinstance(outcome, Failure):
            self._check_open()
        return outcome

    def transcribe_many(
        self,
        items: Iterable[Audio],
        sample_rate: int = SAMPLE_RATE,
        parameters: Mapping[str, Parameter] | None = None,
        concurrency: int = CONCURRENCY,
        decoding: Decoding | None = None,
    ) -> Iterator[Result]:
        """Transcribes many utterances side by side; yields a result for each, in their order.

        An utterance that fails does not touch the others: its result carries the error. ``items`` may be endless; it
        is read as the results are taken.

        Args:
            items: what :meth:`transcribe` takes.
            sample_rate: as there, of all arrays.
            parameters: as there, of all requests.
            concurrency: requests on their way at once.
            decoding: as there, of all requests.

        Raises:
            ParameterError: ``concurrency`` is not positive.
        """

        def one(item: Audio) -> Result:
            try:
                return Result(item, self.transcribe(item, sample_rate, parameters, decoding))
            except ShrotaError as error:
                return Result(item, error=error)

        return in_order(one, items, check_concurrency(concurrency))

    def close(self) -> None:
        """Closes the connections; requests that still run end with a :class:`ShrotaError`.

        They end at once, but for one that is reading its audio or still connecting over HTTP: it ends after that.
        """
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Settings):
    """Transcribes without blocking the event loop; otherwise as :class:`Client`.

    One client belongs to one event loop. Files are read in threads.
    """

    def _connect(self) -> None:
        self._transport = open_async_transport(self.address, self._tls, self._timeouts)

    async def transcribe(
        self,
        audio: Audio,
        sample_rate: int = SAMPLE_RATE,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """Transcribes one utterance or recording; arguments and errors are those of :meth:`Client.transcribe`."""
        return await self._perform(self._exchange.transcription(audio, sample_rate, parameters, decoding))

    async def log_probs(
        self, audio: Audio, sample_rate: int = SAMPLE_RATE, parameters: Mapping[str, Parameter] | None = None
    ) -> LogProbs:
        """Log-probabilities of the tokens; as :meth:`Client.log_probs`."""
        return await self._perform(self._exchange.log_probs_of(audio, sample_rate, parameters))

    async def decode(
        self,
        log_probs: LogProbs,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """Decodes one utterance's log-probabilities; as :meth:`Client.decode`."""
        return await self._perform(self._exchange.decoding_of(log_probs, parameters, decoding))

    async def _perform(self, steps: Steps[Returned]) -> Returned:
        self._check_open()
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Send):
                    outcome = await self._send(step)
                elif isinstance(step, Load):
                    outcome = await asyncio.to_thread(step.load)
                else:
                    await asyncio.sleep(step.seconds)
                    outcome = None
        except StopIteration as end:
            answer: Returned = end.value
            return answer

    async def _send(self, step: Send) -> Outputs | Failure:
        self._check_open()
        try:
            outcome = await self._transport.send(step)
        except asyncio.CancelledError:
            # gRPC cancels its calls when the channel closes; the task that waits for one is not cancelled by that
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._check_open()
            raise
        if isinstance(outcome, Failure):
            self._check_open()
        return outcome

    def transcribe_many(
        self,
        items: Iterable[Audio],
        sample_rate: int = SAMPLE_RATE,
        parameters: Mapping[str, Parameter] | None = None,
        concurrency: int = CONCURRENCY,
        decoding: Decoding | None = None,
    ) -> AsyncGenerator[Result]:
        """Transcribes many utterances side by side, for ``async for``; otherwise :meth:`Client.transcribe_many`."""

        async def one(item: Audio) -> Result:
            try:
                return Result(item, await self.transcribe(item, sample_rate, parameters, decoding))
            except ShrotaError as error:
                return Result(item, error=error)

        return in_order_async(one, items, check_concurrency(concurrency))

    async def close(self) -> None:
        """Closes the connections; requests that still run end as those of :meth:`Client.close`.

        One that waits to be sent again ends after its wait.
        """
        self._closed.set()
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
