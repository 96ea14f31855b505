"""``ctc_decoder``: LOG_PROBS, DURATION -> TRANSCRIPT, RESULT (contract in ``config.pbtxt``).

Custom metrics, on Triton's metrics endpoint:

* ``shrota_decode_seconds_total``: seconds spent in decoding.
* ``shrota_decoded_audio_seconds_total``: seconds of audio decoded.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shrota_decoder.checks import RequestRefusedError, check_durations, check_log_probs, check_parameters
from shrota_decoder.greedy import decode
from shrota_decoder.vocabulary import Vocabulary, VocabularyError


class TritonPythonModel:
    """Decodes each request by itself; one that cannot be decoded is refused and harms no other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the vocabulary and registers the metrics."""
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            self.vocabulary = Vocabulary.read(folder / "vocab.json")
        except VocabularyError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self.decode_seconds = Counter("shrota_decode_seconds_total", "Seconds spent in decoding")
        self.audio_seconds = Counter("shrota_decoded_audio_seconds_total", "Seconds of audio decoded")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self.respond(request) for request in requests]

    def respond(self, request: Any) -> Any:
        """The response to one request; its error, where there is one, is its own."""
        if request.is_cancelled():
            return failure("the request was cancelled", pb_utils.TritonError.CANCELLED)
        try:
            return self.decode(request)
        except RequestRefusedError as error:
            return failure(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach one caller only
            # a defect of ours, or memory ran out: this request is told, its neighbours go on
            pb_utils.Logger.log_error(f"ctc_decoder: {error!r}")
            return failure(f"the decoder failed: {error!r}", pb_utils.TritonError.INTERNAL)

    def decode(self, request: Any) -> Any:
        """The response to one request of [rows, frames, vocabulary]: a transcript and a result per row.

        Raises:
            RequestRefusedError: What the request brings cannot be decoded.
        """
        started = time.perf_counter()
        log_probs = pb_utils.get_input_tensor_by_name(request, "LOG_PROBS").as_numpy()
        durations = pb_utils.get_input_tensor_by_name(request, "DURATION").as_numpy().reshape(-1)
        check_parameters(request.parameters())
        check_log_probs(log_probs, len(self.vocabulary.tokens))
        check_durations(durations)
        results = [
            decode(row, float(duration), self.vocabulary) for row, duration in zip(log_probs, durations, strict=True)
        ]
        response = pb_utils.InferenceResponse(
            [
                string_tensor("TRANSCRIPT", [result.text for result in results]),
                string_tensor("RESULT", [result.to_json() for result in results]),
            ]
        )
        self.decode_seconds.add(time.perf_counter() - started)
        self.audio_seconds.add(float(durations.sum()))
        return response


def string_tensor(name: str, values: list[str]) -> Any:
    """A STRING tensor of [rows, 1], UTF-8."""
    return pb_utils.Tensor(name, np.array([[value.encode("utf-8")] for value in values], dtype=object))


def failure(message: str, code: int) -> Any:
    """A response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


class Counter:
    """A counter on the metrics endpoint; it counts for nobody where the server's metrics are off."""

    def __init__(self, name: str, description: str) -> None:
        self._metric = None
        try:
            # Triton deletes a metric with its family, so both are kept
            self._family = pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            self._metric = self._family.Metric(labels={"model": "ctc_decoder"})
        except pb_utils.TritonModelException as error:
            pb_utils.Logger.log_warn(f"ctc_decoder counts nothing: {error}")

    def add(self, amount: float) -> None:
        """Counts ``amount`` more."""
        if self._metric is not None:
            self._metric.increment(amount)
