"""Plain requests to a Triton server, and looks at its processes, for tests that must not depend on our client."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

STUB = "triton_python_backend_stub"


def tensor(name: str, array: NDArray[Any]) -> InferInput:
    """An input of a request."""
    made = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def engine_inputs(audio: NDArray[np.float32]) -> list[InferInput]:
    """The inputs of an engine for rows [B, T] without padding."""
    counts = np.full((audio.shape[0], 1), audio.shape[1], np.int32)
    return [tensor("AUDIO", audio), tensor("NUM_SAMPLES", counts)]


def infer(
    url: str, model: str, inputs: list[InferInput], outputs: list[str], timeout_s: float = 30, **options: Any
) -> list[Any]:
    """The outputs of one request over gRPC; ``options`` are those of Triton's client."""
    with InferenceServerClient(url) as client:
        wanted = [InferRequestedOutput(name) for name in outputs]
        result = client.infer(model, inputs, outputs=wanted, client_timeout=timeout_s, **options)
        return [result.as_numpy(name) for name in outputs]


def call_http(http_url: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer; with a body it is posted, as JSON."""
    connection = HTTPConnection(http_url, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def statistics(http_url: str, model: str) -> dict[str, Any]:
    """Triton's statistics of a model."""
    _, content = call_http(http_url, f"/v2/models/{model}/stats")
    found: dict[str, Any] = content["model_stats"][0]
    return found


def stub_pids(server_pid: int, model: str) -> list[int]:
    """The living processes that serve a Python model, one for each instance."""
    pids = []
    for child in psutil.Process(server_pid).children():
        try:
            words = child.cmdline()
        except psutil.Error:
            continue  # a zombie, or gone since
        # argument 8 is the instance, <model>_0_0; of a process that only completes a configuration, the model
        if len(words) > 8 and Path(words[0]).name == STUB and re.fullmatch(rf"{re.escape(model)}_\d+_\d+", words[8]):
            pids.append(int(child.pid))
    return pids


def stub_pid(server_pid: int, model: str) -> int:
    """The process that serves a Python model, or one of them."""
    pids = stub_pids(server_pid, model)
    if not pids:
        raise AssertionError(f"no process serves {model}")
    return pids[0]


def is_at_work(server_pid: int, model: str) -> bool:
    """Waits until a Python model computes: when it has used a fifth of a second of processor time since the call."""
    process = psutil.Process(stub_pid(server_pid, model))

    def used_s() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    before_s = used_s()
    return wait_until(lambda: used_s() - before_s > 0.2, 30)


@contextmanager
def halted(server_pid: int, model: str) -> Iterator[None]:
    """Within it, the process of a Python model stands still in whatever it does, so that a test need not be quick."""
    process = psutil.Process(stub_pid(server_pid, model))
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition comes true within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
