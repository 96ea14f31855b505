"""``ctc_decoder``: LOG_PROBS, DURATION -> TRANSCRIPT, RESULT (contract in ``config.pbtxt``).

Custom metrics, on Triton's metrics endpoint:

* ``shrota_decode_seconds_total``: seconds spent in decoding.
* ``shrota_decoded_audio_seconds_total``: seconds of audio decoded.
"""

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shrota_decoder.checks import check_durations, check_log_probs
from shrota_decoder.decoder import Decoder
from shrota_decoder.errors import RequestCancelledError, RequestRefusedError, SettingsError
from shrota_decoder.language_model import find_language_model
from shrota_decoder.memory import MIB, keep_buffers
from shrota_decoder.parameters import Parameters
from shrota_decoder.result import Result
from shrota_decoder.settings import load_settings
from shrota_decoder.vocabulary import Vocabulary


class TritonPythonModel:
    """Decodes each request by itself; one that cannot be decoded is refused and harms no other.

    Greedy requests are answered at once, one after the other: each takes milliseconds. Beam searches run in threads,
    as the library needs no lock of Python's, and each is answered when it is done. ``execute`` returns when all are:
    requests whose ``execute`` has returned Triton would forget if this process died.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Reads settings, vocabulary and language model, and registers the metrics."""
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            settings = load_settings(args["model_config"])
            self.vocabulary = Vocabulary.read(folder / "vocab.json")
            self.decoder = Decoder(self.vocabulary, find_language_model(folder), settings)
            self.decoder.preload()
        except (SettingsError, RequestRefusedError) as error:
            raise pb_utils.TritonModelException(str(error)) from None
        keep_buffers(most=4 * MIB, kept=16 * MIB)
        self.threads = ThreadPoolExecutor(settings.threads, "beam")
        self.decode_seconds = Counter("shrota_decode_seconds_total", "Seconds spent in decoding")
        self.audio_seconds = Counter("shrota_decoded_audio_seconds_total", "Seconds of audio decoded")

    def execute(self, requests: list[Any]) -> list[None]:
        """Answers every request, those that cost little first."""
        greedy: list[tuple[Any, Any, Parameters]] = []
        searches: list[tuple[Any, Any, Parameters]] = []
        for request in requests:
            sender = request.get_response_sender()
            try:
                parameters = self.decoder.read_parameters(json.loads(request.parameters() or "{}"))
            except RequestRefusedError as error:
                send(sender, failure(str(error), pb_utils.TritonError.INVALID_ARG))
                continue
            except Exception as error:  # noqa: BLE001 - it must reach one caller only
                pb_utils.Logger.log_error(f"ctc_decoder: {error!r}")
                send(
                    sender,
                    failure(f"the request's parameters cannot be read: {error!r}", pb_utils.TritonError.INTERNAL),
                )
                continue
            (greedy if parameters.beam_width == 1 else searches).append((request, sender, parameters))
        for number, (request, sender, parameters) in enumerate(greedy, 1):
            response = self.respond(request, parameters)
            if number == len(greedy):
                self.write_metrics()  # once, but before the last has its answer: each is a round trip to the server
            send(sender, response)
        wait([self.threads.submit(self.search, *each) for each in searches])
        return [None] * len(requests)

    def search(self, request: Any, sender: Any, parameters: Parameters) -> None:
        """Answers one request, in a thread."""
        response = self.respond(request, parameters)
        self.write_metrics()
        send(sender, response)

    def write_metrics(self) -> None:
        """Tells the server what was counted."""
        self.decode_seconds.write()
        self.audio_seconds.write()

    def finalize(self) -> None:
        """Ends the threads."""
        self.threads.shutdown()

    def respond(self, request: Any, parameters: Parameters) -> Any:
        """The response to one request; its error, where there is one, is its own."""
        try:
            # to ask is a round trip to the server: not for what is decoded greedily, which takes no longer than a few
            if parameters.beam_width > 1 and request.is_cancelled():
                raise RequestCancelledError("the request was cancelled")  # noqa: TRY301 - as if in a segment
            return self.decode(request, parameters)
        except RequestCancelledError as error:
            return failure(str(error), pb_utils.TritonError.CANCELLED)
        except RequestRefusedError as error:
            return failure(str(error), pb_utils.TritonError.INVALID_ARG)
        except SettingsError as error:
            # a file was changed beneath the server: whoever runs it must act, not the caller
            pb_utils.Logger.log_error(f"ctc_decoder: {error}")
            return failure(str(error), pb_utils.TritonError.INTERNAL)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach one caller only
            # a defect of ours, or memory ran out: this request is told, its neighbours go on
            pb_utils.Logger.log_error(f"ctc_decoder: {error!r}")
            return failure(f"the decoder failed: {error!r}", pb_utils.TritonError.INTERNAL)

    def decode(self, request: Any, parameters: Parameters) -> Any:
        """The response to one request of [rows, frames, vocabulary]: a transcript and a result per row.

        Raises:
            RequestRefusedError: What the request brings cannot be decoded.
            RequestCancelledError: Its caller has gone while it was decoded.
        """
        started = time.perf_counter()
        log_probs = pb_utils.get_input_tensor_by_name(request, "LOG_PROBS").as_numpy()
        durations = pb_utils.get_input_tensor_by_name(request, "DURATION").as_numpy().reshape(-1)
        check_log_probs(log_probs, len(self.vocabulary.tokens))
        check_durations(durations)
        prepared = self.decoder.prepare(parameters)  # one for all rows and segments
        results = [
            self.decoder.decode(row, float(duration), parameters, request.is_cancelled, prepared)
            for row, duration in zip(log_probs, durations, strict=True)
        ]
        response = pb_utils.InferenceResponse(outputs(request.requested_output_names(), results, parameters))
        self.decode_seconds.add(time.perf_counter() - started)
        self.audio_seconds.add(float(durations.sum()))
        return response


def send(sender: Any, response: Any) -> None:
    """Answers a request, which then is over; whoever does not take the answer is gone."""
    try:
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as error:  # noqa: BLE001 - the next request must be answered all the same
        pb_utils.Logger.log_error(f"ctc_decoder: an answer could not be sent: {error!r}")


def outputs(wanted: Sequence[str], results: list[Result], parameters: Parameters) -> list[Any]:
    """The tensors that were asked for, and no other.

    What nobody has asked for, ``send`` of tritonserver 2.51 throws away while it does not hold Python's lock: beside a
    search in another thread that corrupts Python's memory, and the process dies some hundred requests later.
    """
    made: dict[str, Callable[[], list[str]]] = {
        "TRANSCRIPT": lambda: [result.text for result in results],
        "RESULT": lambda: [result.to_json(words=parameters.words) for result in results],
    }
    return [string_tensor(name, texts()) for name, texts in made.items() if name in wanted]


def string_tensor(name: str, values: list[str]) -> Any:
    """A STRING tensor of [rows, 1], UTF-8."""
    return pb_utils.Tensor(name, np.array([[value.encode("utf-8")] for value in values], dtype=object))


def failure(message: str, code: int) -> Any:
    """A response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def keep_for_ever(family: object) -> None:
    """Takes a reference to a family of metrics that is never given back.

    Triton deletes metrics with their family, and where that happens at the end of the process, the stub of tritonserver
    2.51 ends with a segmentation fault: the memory through which it would tell the server is gone by then. The server
    keeps what was counted, for the next process.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(family))


class Counter:
    """A counter on the metrics endpoint; it counts for nobody where the server's metrics are off."""

    # of all counters together: tritonserver 2.51 crashes where two threads of a model change metrics at a time
    _lock = threading.Lock()

    def __init__(self, name: str, description: str) -> None:
        self._metric = None
        self._unwritten = 0.0
        try:
            family = pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            keep_for_ever(family)
            self._metric = family.Metric(labels={"model": "ctc_decoder"})
        except pb_utils.TritonModelException as error:
            pb_utils.Logger.log_warn(f"ctc_decoder counts nothing: {error}")

    def add(self, amount: float) -> None:
        """Counts ``amount`` more, for the next :meth:`write`."""
        with self._lock:
            self._unwritten += amount

    def write(self) -> None:
        """Tells the server; a metric that cannot be written is logged and costs no request its answer."""
        with self._lock:
            amount, self._unwritten = self._unwritten, 0.0
            if self._metric is None or not amount:
                return
            try:
                self._metric.increment(amount)
            except pb_utils.TritonModelException as error:
                pb_utils.Logger.log_warn(f"ctc_decoder could not count {amount:g}: {error}")
