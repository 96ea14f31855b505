"""A Python model whose process is killed serves again within 10 s, and its callers are not left waiting."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.triton import engine_inputs, infer, stub_pid, tensor, wait_until

pytestmark = pytest.mark.triton
AUDIO = np.random.default_rng(0).normal(0, 0.5, (1, 16000)).astype(np.float32)


def transcribes(server: TritonServer) -> bool:
    try:
        (transcript,) = infer(server.grpc_url, "asr", [tensor("AUDIO", AUDIO)], ["TRANSCRIPT"], timeout_s=5)
    except InferenceServerException:
        return False
    return bool(transcript.shape == (1, 1))


@pytest.mark.parametrize("model", ["acoustic_onnx", "ctc_decoder"])
def test_a_killed_model_is_loaded_again_while_the_others_go_on(server: TritonServer, model: str) -> None:
    assert transcribes(server)
    tritonserver, acoustic = server.pid, stub_pid(server.pid, "acoustic")
    os.kill(stub_pid(server.pid, model), signal.SIGKILL)
    time.sleep(0.1)
    assert wait_until(lambda: transcribes(server), 30)
    assert server.pid == tritonserver
    assert stub_pid(server.pid, "acoustic") == acoustic


def test_the_engine_is_right_after_it_was_loaded_again(server: TritonServer) -> None:
    (log_probs,) = infer(server.grpc_url, "acoustic_onnx", engine_inputs(AUDIO), ["LOG_PROBS"])
    np.testing.assert_allclose(log_probs[0], tiny_log_probs(AUDIO[0]), atol=1e-4)


def test_when_acoustic_is_killed_its_callers_get_an_error_and_it_serves_again(server: TritonServer) -> None:
    long = np.zeros((1, 16000 * 600), np.float32)
    outcome: list[str] = []

    def ask() -> None:
        try:
            infer(server.grpc_url, "asr", [tensor("AUDIO", long)], ["TRANSCRIPT"], timeout_s=60)
            outcome.append("answered")
        except InferenceServerException as error:
            outcome.append(str(error.status()))

    caller = threading.Thread(target=ask)
    caller.start()
    time.sleep(0.2)
    os.kill(stub_pid(server.pid, "acoustic"), signal.SIGKILL)
    caller.join(timeout=20)
    assert outcome in (["StatusCode.UNAVAILABLE"], ["answered"])
    assert wait_until(lambda: transcribes(server), 30)
