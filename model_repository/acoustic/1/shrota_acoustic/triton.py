"""What touches Triton's Python API for a request; ``pb_utils`` is its ``triton_python_backend_utils``."""

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.errors import EngineError, RequestError

ASKED_AFTER_S = 0.25
"""Whether a younger request was cancelled is not asked: the question is a round trip to the server."""

logger = logging.getLogger(__name__)


class TritonResponder:
    """One request of Triton's and its way back.

    It holds the request: the memory of its tensors, which is shared with the server process, lives as long as that.
    """

    def __init__(self, pb_utils: Any, request: Any) -> None:
        self._pb_utils = pb_utils
        self._request = request
        self._sender = request.get_response_sender()
        self._asked_from = time.monotonic() + ASKED_AFTER_S

    @property
    def audio(self) -> NDArray[np.float32]:
        """AUDIO [rows, samples]: a view, valid while this object is held."""
        audio: NDArray[np.float32] = self._pb_utils.get_input_tensor_by_name(self._request, "AUDIO").as_numpy()
        return audio

    @property
    def parameters(self) -> str:
        """The request's parameters, a JSON object."""
        return str(self._request.parameters())

    @property
    def timeout_s(self) -> float | None:
        """The request's time-out, None if it has none."""
        timeout_us: int = self._request.timeout()
        return timeout_us / 1e6 if timeout_us > 0 else None

    def is_cancelled(self) -> bool:
        """Whether the caller has gone, as far as Triton tells; False at first, see :data:`ASKED_AFTER_S`."""
        return time.monotonic() >= self._asked_from and bool(self._request.is_cancelled())

    def answer(self, log_probs: NDArray[np.float32], durations: NDArray[np.float32]) -> None:
        """Sends what was asked for of LOG_PROBS [rows, frames, vocabulary] and DURATION [rows, 1].

        What nobody has asked for, ``send`` of tritonserver 2.51 throws away while it does not hold Python's lock:
        beside other threads that corrupts Python's memory.
        """
        try:
            made = {"LOG_PROBS": log_probs, "DURATION": durations}
            wanted = self._request.requested_output_names()
            tensors = [self._pb_utils.Tensor(name, array) for name, array in made.items() if name in wanted]
            self._send(self._pb_utils.InferenceResponse(output_tensors=tensors))
        except Exception as error:
            logger.exception("an answer of shape %s could not be sent", log_probs.shape)
            self.fail(EngineError(f"the answer could not be sent: {error}"))

    def fail(self, error: RequestError) -> None:
        """Sends an error."""
        code = getattr(self._pb_utils.TritonError, error.code)
        try:
            self._send(self._pb_utils.InferenceResponse(error=self._pb_utils.TritonError(str(error), code)))
        except Exception:
            # nobody is left to tell: the caller is gone, or the server is
            logger.exception("an error could not be sent")

    def _send(self, response: Any) -> None:
        self._sender.send(response, flags=self._pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonLogHandler(logging.Handler):
    """Python's log records to Triton's log."""

    def __init__(self, pb_utils: Any) -> None:
        super().__init__()
        self._logger = pb_utils.Logger

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.log_error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.log_warn(text)
        else:
            self._logger.log_info(text)
