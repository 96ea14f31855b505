"""A Python model whose process is killed serves again within 10 s, and its callers are not left waiting."""

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from shrota_client import Client, ServerUnavailableError
from shrota_server import StoppedError, TritonServer
from shrota_server.control import Control
from shrota_server.errors import ServerError
from shrota_testing.engines import tiny_log_probs
from shrota_testing.repository import TOKENS, make_repository
from shrota_testing.triton import (
    engine_inputs,
    halted,
    infer,
    is_at_work,
    statistics,
    stub_pid,
    stub_pids,
    tensor,
    wait_until,
)
from shrota_testing.utterances import noise

pytestmark = pytest.mark.triton
MODELS = ["asr", "acoustic_onnx"]
AUDIO = noise(1.0)[None]
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


def ask(server: TritonServer, model: str, inputs: list[InferInput], **parameters: Any) -> None:
    infer(server.grpc_url, model, inputs, [], parameters=parameters)


def error_of(caller: Future[Any], deadline: float) -> BaseException | None:
    """What a caller gets before the deadline."""
    return caller.exception(timeout=max(0, deadline - time.monotonic()))


@pytest.mark.parametrize(
    ("model", "told"),
    [("acoustic", ""), ("acoustic_onnx", "engine acoustic_onnx has ended, `shrota serve` loads it again")],
    ids=["acoustic", "acoustic_onnx"],
)
def test_whoever_has_a_file_in_a_model_that_is_killed_is_told_so_at_once(
    slow_server: TritonServer, model: str, told: str
) -> None:
    file = [tensor("AUDIO", np.zeros((1, 16000 * 1200), np.float32))]
    with ThreadPoolExecutor() as pool:
        caller = pool.submit(ask, slow_server, "asr", file)
        assert is_at_work(slow_server.pid, "acoustic_onnx")
        deadline = kill(slow_server, model)
        assert not caller.done()
        error = error_of(caller, deadline)
    assert isinstance(error, InferenceServerException)
    assert error.status() == "StatusCode.UNAVAILABLE"
    assert told in error.message()
    assert serves_again(slow_server, deadline)


def every_frame_another_token(seconds: int) -> list[InferInput]:
    """Inputs of the decoder that cost it much: a word of one letter in every other frame."""
    log_probs = np.full((1, seconds * 50, len(TOKENS)), -20, np.float32)
    letter, delimiter = len(TOKENS) - 1, TOKENS.index("|")
    log_probs[:, ::2, letter] = log_probs[:, 1::2, delimiter] = 0
    return [tensor("LOG_PROBS", log_probs), tensor("DURATION", np.full((1, 1), seconds, np.float32))]


@pytest.mark.parametrize("beam_width", [1, 100])
def test_whoever_has_a_request_in_the_decoder_when_it_is_killed_is_told_so_at_once(
    slow_server: TritonServer, beam_width: int
) -> None:
    """By Triton itself, with an error of its own, which the client knows: one decodes, one waits for it."""

    def heard() -> int:
        return int(statistics(slow_server.http_url, "acoustic")["inference_stats"]["success"]["count"])

    before = heard()
    with ThreadPoolExecutor() as pool, Client(slow_server.grpc_url) as client:
        inputs = every_frame_another_token(7200)
        decoding = pool.submit(ask, slow_server, "ctc_decoder", inputs, beam_width=beam_width)
        assert is_at_work(slow_server.pid, "ctc_decoder")
        with halted(slow_server.pid, "ctc_decoder"):
            waiting = pool.submit(client.transcribe, AUDIO[0])
            assert wait_until(lambda: heard() > before, 10)
            assert not decoding.done()
            deadline = kill(slow_server, "ctc_decoder")
        error = error_of(decoding, deadline)
        assert isinstance(error, InferenceServerException)
        assert error.status() == "StatusCode.INTERNAL"
        assert "is not healthy" in error.message()
        assert isinstance(error_of(waiting, deadline), ServerUnavailableError)
    assert serves_again(slow_server, deadline)


def test_a_server_that_cannot_be_started_again_says_why(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    with TritonServer(repository, models=MODELS, supervise=True) as server:
        (repository / "acoustic_onnx" / "1" / "model.onnx").write_bytes(b"no graph")
        kill(server, "acoustic")
        with pytest.raises(StoppedError, match=r"could not be started again: model acoustic_onnx .* cannot be read as"):
            server.wait(30)


@pytest.mark.parametrize("answers", [False, True], ids=["while", "after"])
def test_a_server_that_crashes_when_a_killed_model_is_loaded_again_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """And whoever waits for its end goes on waiting."""
    with (
        ThreadPoolExecutor() as pool,
        TritonServer(make_repository(tmp_path / "model_repository"), models=MODELS, supervise=True) as server,
    ):
        crashed = server.pid

        def crash(control: Control, model: str, timeout_s: float) -> None:
            os.kill(crashed, signal.SIGABRT)
            if not answers:
                raise ServerError("Triton does not answer")

        monkeypatch.setattr(Control, "reload", crash)
        waiting = pool.submit(server.wait)
        deadline = kill(server, "ctc_decoder")
        assert wait_until(lambda: server.pid != crashed, AGAIN_S)
        assert serves_again(server, deadline)
        assert not waiting.done()
    assert waiting.result()


def test_a_server_that_crashes_is_started_again(tmp_path: Path) -> None:
    """As 2.51 does when callers give up by the hundred; and whoever waits for its end goes on waiting."""
    with (
        ThreadPoolExecutor() as pool,
        TritonServer(make_repository(tmp_path / "model_repository"), models=MODELS, supervise=True) as server,
    ):
        waiting = pool.submit(server.wait)
        os.kill(server.pid, signal.SIGSEGV)
        assert serves_again(server, time.monotonic() + AGAIN_S)
        assert not waiting.done()
    assert waiting.result()


def test_of_two_processes_of_the_decoder_both_are_new_when_one_was_killed(tmp_path: Path) -> None:
    with TritonServer(make_repository(tmp_path / "model_repository"), models=MODELS, supervise=True) as server:
        before = stub_pids(server.pid, "ctc_decoder")
        assert len(before) == 2
        deadline = kill(server, "ctc_decoder")
        # the one that lives serves on until it is replaced
        assert wait_until(lambda: len({*stub_pids(server.pid, "ctc_decoder")} - {*before}) == 2, AGAIN_S)
        assert serves_again(server, deadline)
