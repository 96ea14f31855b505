"""The engine through a real server: values, batches, errors, warm-up."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.triton import engine_inputs, infer, statistics, tensor
from shrota_testing.utterances import noise_rows

pytestmark = pytest.mark.triton
ENGINE = "acoustic_onnx"


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
    before = statistics(server.http_url, ENGINE)
    rows = noise_rows(48, 32000)

    def ask(index: int) -> NDArray[np.float32]:
        (log_probs,) = infer(server.grpc_url, ENGINE, engine_inputs(rows[index : index + 1]), ["LOG_PROBS"])
        return np.asarray(log_probs[0], np.float32)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(len(rows))))
    after = statistics(server.http_url, ENGINE)
    inferences = after["inference_count"] - before["inference_count"]
    executions = after["execution_count"] - before["execution_count"]
    assert inferences == 48
    assert executions < inferences
    for answer, row in zip(answers, rows, strict=True):
        np.testing.assert_allclose(answer, tiny_log_probs(row), atol=2e-5)


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
