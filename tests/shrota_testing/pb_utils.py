"""As much of ``triton_python_backend_utils`` as a ``model.py`` needs to run in a test, without a server.

:func:`load_model` puts this module in that one's place.
"""

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from numpy.typing import NDArray

WAIT_S = 30
TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


def load_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a ``model.py``."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", sys.modules[__name__])
    monkeypatch.setattr(sys, "path", [*sys.path])  # it may add to it
    spec = importlib.util.spec_from_file_location(f"model_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    """What Triton's functions raise."""


@dataclass(frozen=True)
class TritonError:
    """An error of one request."""

    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"
    INVALID_ARG = "INVALID_ARG"

    message: str
    code: str


@dataclass(frozen=True)
class Tensor:
    """An input or output."""

    tensor_name: str
    array: NDArray[Any]

    def name(self) -> str:
        """Its name."""
        return self.tensor_name

    def as_numpy(self) -> NDArray[Any]:
        """What it holds."""
        return self.array


@dataclass(frozen=True)
class InferenceResponse:
    """Outputs, or an error."""

    output_tensors: Sequence[Tensor] = ()
    error: TritonError | None = None

    def output(self, name: str) -> NDArray[Any]:
        """What one of the outputs holds."""
        return next(tensor.array for tensor in self.output_tensors if tensor.tensor_name == name)


@dataclass
class Sender:
    """The way back of a request; keeps the response."""

    response: InferenceResponse | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def send(self, response: InferenceResponse, flags: int) -> None:
        """Keeps the only response."""
        assert flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL
        assert self.response is None
        self.response = response
        self.done.set()


@dataclass
class Request:
    """A request for all outputs; remembers whether anybody has looked at its inputs."""

    tensors: dict[str, NDArray[Any]]
    outputs: Sequence[str]
    is_cancelled: Callable[[], bool] = lambda: False
    given_parameters: dict[str, Any] = field(default_factory=dict)
    was_read: bool = field(default=False, init=False)
    sender: Sender = field(default_factory=Sender, init=False)

    def get_response_sender(self) -> Sender:
        """Where the answer goes."""
        return self.sender

    def wait(self) -> InferenceResponse:
        """The answer."""
        assert self.sender.done.wait(WAIT_S), "no answer"
        assert self.sender.response is not None
        return self.sender.response

    def inputs(self) -> list[Tensor]:
        """All its inputs."""
        self.was_read = True
        return [Tensor(name, array) for name, array in self.tensors.items()]

    def requested_output_names(self) -> list[str]:
        """Its outputs."""
        return list(self.outputs)

    def parameters(self) -> str:
        """Its parameters, a JSON object; nothing if there are none."""
        return json.dumps(self.given_parameters) if self.given_parameters else ""


def get_input_tensor_by_name(request: Request, name: str) -> Tensor:
    """One input of a request."""
    return next(tensor for tensor in request.inputs() if tensor.tensor_name == name)


class MetricFamily:
    """Metrics are off."""

    COUNTER = 0

    def __init__(self, **_: object) -> None:
        raise TritonModelException("metrics are off")


class Logger:
    """Says nothing."""

    @staticmethod
    def log_info(text: str) -> None:
        """Does nothing."""

    @staticmethod
    def log_warn(text: str) -> None:
        """Does nothing."""

    @staticmethod
    def log_error(text: str) -> NoReturn:
        """No test is to see one."""
        raise AssertionError(text)
