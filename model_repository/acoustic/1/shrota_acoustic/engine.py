"""Calls of an engine model, and what its failures mean."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.errors import EngineError, RequestError, UnavailableError


@dataclass(frozen=True)
class EngineOutput:
    """What an engine gives for a batch."""

    log_probs: NDArray[np.float32]
    """[rows, frames, vocabulary]; may look into memory that ``holder`` keeps alive."""
    num_frames: NDArray[np.int32]
    """[rows, 1]"""
    holder: object = None


class Engine(Protocol):
    """Anything that runs batches."""

    def run(self, name: str, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> EngineOutput:
        """Runs audio [rows, samples] with num_samples [rows, 1] on the engine called ``name``.

        Raises:
            UnavailableError: The engine is not there, or cannot take the batch now.
            EngineError: The engine took the batch and failed.
        """
        ...


class TritonEngine:
    """Engines of the same server, called through business logic scripting.

    Args:
        pb_utils: Triton's ``triton_python_backend_utils``.
    """

    def __init__(self, pb_utils: Any) -> None:
        self._pb_utils = pb_utils

    def run(self, name: str, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> EngineOutput:
        """See :meth:`Engine.run`."""
        tensor: Callable[..., Any] = self._pb_utils.Tensor
        request = self._pb_utils.InferenceRequest(
            model_name=name,
            requested_output_names=["LOG_PROBS", "NUM_FRAMES"],
            inputs=[tensor("AUDIO", audio), tensor("NUM_SAMPLES", num_samples)],
            # an engine on a GPU leaves its outputs there otherwise, where numpy cannot read them
            preferred_memory=self._pb_utils.PreferredMemory(self._pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        try:
            response = request.exec()
        except self._pb_utils.TritonModelException as error:
            raise engine_error(name, str(error)) from error
        if response.has_error():
            passing = response.error().code() == self._pb_utils.TritonError.UNAVAILABLE
            raise engine_error(name, response.error().message(), passing=passing)
        log_probs = self._pb_utils.get_output_tensor_by_name(response, "LOG_PROBS")
        num_frames = self._pb_utils.get_output_tensor_by_name(response, "NUM_FRAMES")
        return EngineOutput(log_probs.as_numpy(), num_frames.as_numpy(), response)


def engine_error(name: str, message: str, *, passing: bool = False) -> RequestError:
    """What Triton's ``message`` about engine ``name`` means for the caller.

    ``passing`` says that it came with the code UNAVAILABLE.
    """
    text = " ".join(message.split())
    if "Server not ready" in text:
        return UnavailableError("the server is stopping: try again later")
    if re.search(f"'{re.escape(name)}'.* (is not ready|is not found|has no available versions)", text):
        return UnavailableError(f"engine {name} is not loaded: load it beside asr, as `shrota serve` does")
    if "maximum queue size" in text:
        return UnavailableError(f"the queue of engine {name} is full: try again later")
    if "not healthy" in text:
        remedy = "`shrota serve` loads it again: try again in some seconds"
        return UnavailableError(f"the process of engine {name} has ended, {remedy}")
    if passing:
        return UnavailableError(f"engine {name} cannot run now: {text}")
    return EngineError(f"engine {name} failed: {text}")
