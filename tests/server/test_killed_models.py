"""A Python model whose process is killed serves again within 10 s, and its callers are not left waiting."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from shrota_server import StoppedError, TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.repository import make_repository
from shrota_testing.triton import engine_inputs, infer, statistics, stub_pid, tensor, wait_until

pytestmark = pytest.mark.triton
MODELS = ["asr", "acoustic_onnx"]
AUDIO = np.random.default_rng(0).normal(0, 0.5, (1, 16000)).astype(np.float32)
AGAIN_S = 10


def transcribes(server: TritonServer) -> bool:
    try:
        (transcript,) = infer(server.grpc_url, "asr", [tensor("AUDIO", AUDIO)], ["TRANSCRIPT"], timeout_s=1)
    except InferenceServerException:
        return False
    return bool(transcript.shape == (1, 1))


def kill(server: TritonServer, model: str) -> float:
    """Kills the process of a model; the time until which it may stay away."""
    os.kill(stub_pid(server.pid, model), signal.SIGKILL)
    return time.monotonic() + AGAIN_S


def serves_again(server: TritonServer, deadline: float) -> bool:
    return wait_until(lambda: transcribes(server), deadline - time.monotonic()) and time.monotonic() <= deadline


@pytest.mark.parametrize("model", ["acoustic_onnx", "ctc_decoder"])
def test_a_killed_model_is_loaded_again_while_the_others_go_on(server: TritonServer, model: str) -> None:
    assert transcribes(server)
    tritonserver, acoustic, killed = server.pid, stub_pid(server.pid, "acoustic"), stub_pid(server.pid, model)
    deadline = kill(server, model)
    assert serves_again(server, deadline)
    assert server.pid == tritonserver
    assert stub_pid(server.pid, "acoustic") == acoustic
    assert stub_pid(server.pid, model) != killed


def test_the_engine_is_right_after_it_was_loaded_again(server: TritonServer) -> None:
    (log_probs,) = infer(server.grpc_url, "acoustic_onnx", engine_inputs(AUDIO), ["LOG_PROBS"])
    np.testing.assert_allclose(log_probs[0], tiny_log_probs(AUDIO[0]), atol=1e-4)


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[TritonServer]:
    """A server whose engine takes seconds for minutes of audio."""
    repository = make_repository(tmp_path / "model_repository", ballast=16384)
    with TritonServer(repository, models=MODELS, supervise=True) as running:
        yield running


def test_when_acoustic_is_killed_its_callers_get_an_error_and_it_serves_again(slow_server: TritonServer) -> None:
    long = np.zeros((1, 16000 * 1200), np.float32)
    warm_up = statistics(slow_server.http_url, "acoustic_onnx")["execution_count"]
    outcome: list[str] = []

    def ask() -> None:
        try:
            infer(slow_server.grpc_url, "asr", [tensor("AUDIO", long)], ["TRANSCRIPT"], timeout_s=120)
            outcome.append("answered")
        except InferenceServerException as error:
            outcome.append(str(error.status()))

    def is_at_work() -> bool:
        return bool(statistics(slow_server.http_url, "acoustic_onnx")["execution_count"] > warm_up)

    caller = threading.Thread(target=ask)
    caller.start()
    assert wait_until(is_at_work, 30)
    deadline = kill(slow_server, "acoustic")
    assert outcome == []
    caller.join(timeout=max(0, deadline - time.monotonic()))
    assert outcome == ["StatusCode.UNAVAILABLE"]
    assert serves_again(slow_server, deadline)


def test_a_server_that_cannot_be_started_again_says_why(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    with TritonServer(repository, models=MODELS, supervise=True) as server:
        (repository / "acoustic_onnx" / "1" / "model.onnx").write_bytes(b"no graph")
        kill(server, "acoustic")
        with pytest.raises(StoppedError, match=r"could not be started again: model acoustic_onnx .* cannot be read as"):
            server.wait(30)
