"""What Triton says about an engine, in words for the caller."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shrota_acoustic.engine import TritonEngine, engine_error
from shrota_acoustic.errors import EngineError, RequestError, UnavailableError

BLS = "Model acoustic_trt - Error when running inference: "


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        (
            BLS + "Failed for execute the inference request. Model 'acoustic_trt' is not ready.",
            UnavailableError,
            "engine acoustic_trt is not loaded: load it beside asr",
        ),
        (BLS + "Exceeds maximum queue size", UnavailableError, "the queue of engine acoustic_trt is full"),
        (
            "Stub process 'acoustic_trt_0_0' is not healthy.",
            UnavailableError,
            "the process of engine acoustic_trt has ended, `shrota serve` loads it again: try again in some seconds",
        ),
        (BLS + "Server not ready", UnavailableError, "the server is stopping"),
        ("out of\n  memory", EngineError, "engine acoustic_trt failed: out of memory"),
    ],
)
def test_a_failure_names_the_engine_and_the_remedy_in_one_line(
    message: str, kind: type[RequestError], told: str
) -> None:
    error = engine_error("acoustic_trt", message)
    assert type(error) is kind
    assert told in str(error)
    assert "\n" not in str(error)


class FakePbUtils:
    """As much of ``triton_python_backend_utils`` as a call needs; ``fault`` is the response's error."""

    TritonModelException = RuntimeError
    TritonError = SimpleNamespace(UNAVAILABLE=14, INTERNAL=13)
    TRITONSERVER_MEMORY_CPU = "CPU"

    def __init__(self, fault: tuple[str, int] | None = None, exception: Exception | None = None) -> None:
        self.fault = fault
        self.exception = exception
        self.called: dict[str, Any] = {}

    def Tensor(self, name: str, array: Any) -> SimpleNamespace:  # noqa: N802 - Triton's name
        """A tensor."""
        return SimpleNamespace(name=name, as_numpy=lambda: array)

    def PreferredMemory(self, kind: str, device: int) -> tuple[str, int]:  # noqa: N802 - Triton's name
        """Where a response's tensors shall be."""
        return kind, device

    def InferenceRequest(self, **arguments: Any) -> SimpleNamespace:  # noqa: N802 - Triton's name
        """A request to another model."""
        self.called = arguments
        return SimpleNamespace(exec=self._exec)

    def _exec(self) -> SimpleNamespace:
        if self.exception:
            raise self.exception
        message, code = self.fault or ("", 0)
        error = SimpleNamespace(message=lambda: message, code=lambda: code)
        outputs = {
            "LOG_PROBS": self.Tensor("LOG_PROBS", np.zeros((1, 2, 3), np.float32)),
            "NUM_FRAMES": self.Tensor("NUM_FRAMES", np.array([[2]], np.int32)),
        }
        return SimpleNamespace(has_error=lambda: self.fault is not None, error=lambda: error, outputs=outputs)

    def get_output_tensor_by_name(self, response: SimpleNamespace, name: str) -> Any:
        """One output of a response."""
        return response.outputs[name]


AUDIO = np.zeros((1, 720), np.float32)
NUM_SAMPLES = np.array([[720]], np.int32)


def test_a_call_sends_both_inputs_and_gives_both_outputs() -> None:
    pb_utils = FakePbUtils()
    output = TritonEngine(pb_utils).run("acoustic_onnx", AUDIO, NUM_SAMPLES)
    assert pb_utils.called["model_name"] == "acoustic_onnx"
    assert [tensor.name for tensor in pb_utils.called["inputs"]] == ["AUDIO", "NUM_SAMPLES"]
    # a native engine on a GPU would leave them there
    assert pb_utils.called["preferred_memory"] == ("CPU", 0)
    assert output.log_probs.shape == (1, 2, 3)
    assert output.num_frames.tolist() == [[2]]


def test_an_error_that_passes_by_itself_stays_one() -> None:
    with pytest.raises(UnavailableError, match="cannot run now: busy"):
        TritonEngine(FakePbUtils(fault=("busy", 14))).run("acoustic_onnx", AUDIO, NUM_SAMPLES)


@pytest.mark.parametrize("pb_utils", [FakePbUtils(fault=("bad", 13)), FakePbUtils(exception=RuntimeError("bad"))])
def test_other_errors_are_the_engines(pb_utils: FakePbUtils) -> None:
    with pytest.raises(EngineError, match="engine acoustic_onnx failed: bad"):
        TritonEngine(pb_utils).run("acoustic_onnx", AUDIO, NUM_SAMPLES)
