"""The engine through a real server: values, batches, errors, warm-up."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from benchmarks.metrics import read_metrics
from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.triton import engine_inputs, halted, infer, is_at_work, statistics, tensor, wait_until
from shrota_testing.utterances import noise_rows

pytestmark = pytest.mark.triton
ENGINE = "acoustic_onnx"


def counts(server: TritonServer) -> tuple[int, int]:
    """Rows that the engine has run, and in how many runs; Triton counts them a little after it has answered."""
    found = statistics(server.http_url, ENGINE)
    return found["inference_count"], found["execution_count"]


def test_ready_means_warm_with_every_class_of_shapes(repository: Path, server: TritonServer) -> None:
    batch_sizes = {entry["batch_size"] for entry in statistics(server.http_url, ENGINE)["batch_stats"]}
    assert batch_sizes >= {1, 2, 40}
    for file in (repository / ENGINE / "warmup").iterdir():
        assert int.from_bytes(file.read_bytes(), "little") == int(file.name.removeprefix("num_samples_"))


def test_values_are_the_engine_s(server: TritonServer) -> None:
    audio = noise_rows(3, 16000)
    log_probs, num_frames = infer(server.grpc_url, ENGINE, engine_inputs(audio), ["LOG_PROBS", "NUM_FRAMES"])
    for row in range(3):
        np.testing.assert_allclose(log_probs[row], tiny_log_probs(audio[row]), atol=2e-5)
    np.testing.assert_array_equal(num_frames, [[49]] * 3)


def test_only_the_output_that_was_asked_for_comes(server: TritonServer) -> None:
    with InferenceServerClient(server.grpc_url) as client:
        result = client.infer(ENGINE, engine_inputs(noise_rows(1, 4000)), outputs=[InferRequestedOutput("NUM_FRAMES")])
        assert [output.name for output in result.get_response().outputs] == ["NUM_FRAMES"]


def test_requests_that_wait_together_run_together(server: TritonServer) -> None:
    rows_before, runs_before = counts(server)
    rows = noise_rows(48, 32000)

    def ask(index: int) -> NDArray[np.float32]:
        (log_probs,) = infer(server.grpc_url, ENGINE, engine_inputs(rows[index : index + 1]), ["LOG_PROBS"])
        return np.asarray(log_probs[0], np.float32)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(len(rows))))
    assert wait_until(lambda: counts(server)[0] >= rows_before + 48, 5)
    rows_after, runs_after = counts(server)
    assert rows_after - rows_before == 48
    assert runs_after - runs_before < 48
    for answer, row in zip(answers, rows, strict=True):
        np.testing.assert_allclose(answer, tiny_log_probs(row), atol=2e-5)


def test_a_request_that_is_cancelled_while_it_waits_is_not_run(slow_server: TritonServer) -> None:
    rows_before, runs_before = counts(slow_server)
    ended: Queue[InferenceServerException | None] = Queue()

    def end(result: object, error: InferenceServerException | None) -> None:
        ended.put(error)

    with ThreadPoolExecutor() as pool, InferenceServerClient(slow_server.grpc_url) as client:
        running = pool.submit(infer, slow_server.grpc_url, ENGINE, engine_inputs(noise_rows(16, 320_000)), [])
        assert is_at_work(slow_server.pid, ENGINE)
        with halted(slow_server.pid, ENGINE):
            call = client.async_infer(ENGINE, engine_inputs(noise_rows(4, 160_000)), end)
            waiting = "nv_inference_pending_request_count"
            assert wait_until(lambda: read_metrics(slow_server.metrics_url)[waiting] == 1, 5)
            call.cancel()
            assert "CANCELLED" in str(ended.get(timeout=5))
            assert not running.done()
        running.result()
    # by its end, all that waited before it has been dealt with
    infer(slow_server.grpc_url, ENGINE, engine_inputs(noise_rows(1, 4000)), [])
    assert wait_until(lambda: counts(slow_server)[1] >= runs_before + 2, 5)
    assert counts(slow_server) == (rows_before + 16 + 1, runs_before + 2)


def test_a_request_that_the_graph_refuses_gets_one_line_and_harms_no_other(server: TritonServer) -> None:
    good = noise_rows(1, 16000)

    def ask(index: int) -> str:
        audio = good if index % 2 else noise_rows(1, 100)  # too short for the convolution
        try:
            (log_probs,) = infer(server.grpc_url, ENGINE, engine_inputs(audio), ["LOG_PROBS"])
        except InferenceServerException as error:
            return str(error)
        np.testing.assert_allclose(log_probs[0], tiny_log_probs(good[0]), atol=2e-5)
        return "good"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    assert answers[1::2] == ["good"] * 8
    for answer in answers[::2]:
        assert "ONNX Runtime: " in answer
        assert "\n" not in answer


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([tensor("AUDIO", noise_rows(1, 4000))], "expected 2 inputs but got 1"),
        (
            [tensor("AUDIO", noise_rows(1, 4000)), tensor("NUM_SAMPLES", np.array([[4000]], np.int64))],
            "INT32",
        ),
        (
            [tensor("AUDIO", noise_rows(2, 4000)), tensor("NUM_SAMPLES", np.array([[4000]], np.int32))],
            "batch size",
        ),
    ],
)
def test_other_inputs_than_the_engine_s_are_invalid(server: TritonServer, inputs: list[InferInput], text: str) -> None:
    with pytest.raises(InferenceServerException, match=text) as caught:
        infer(server.grpc_url, ENGINE, inputs, ["LOG_PROBS"])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
